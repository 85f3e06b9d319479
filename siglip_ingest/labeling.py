"""Label sets: named lists of labels; every image has a score for each label."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from siglip_ingest.active_model import MODEL_CHANGES, EmbedderFactory, embed_query
from siglip_ingest.db import Connection, Database, labels
from siglip_ingest.db.checks import check_image_id, check_name, check_storable
from siglip_ingest.db.labels import LabelSetRow
from siglip_ingest.db.models import check_same_model, described_model, hold_active_model
from siglip_ingest.errors import AlreadyExistsError, DatabaseConflictError, NotFoundError
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE, check_labels, embed_labels, make_prompts
from siglip_ingest.types import Embedder, LabelScore, TextReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

logger = logging.getLogger(__name__)


def create_label_set(
    database: Database,
    make_embedder: EmbedderFactory,
    name: str,
    label_names: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    template: str = DEFAULT_TEMPLATE,
    replace: bool = False,
) -> None:
    """Store a label set and its vectors under the active model.

    A label's vector is the mean of its prompts' unit vectors, normalised; of one prompt, that prompt's vector.

    Args:
        database: Where it is stored.
        make_embedder: Gives an embedder of a model; called once everything else is found to be right.
        name: What the label set is called.
        label_names: The labels; or a mapping from each label to prompts of its own, used as they are.
        template: Makes the prompt of each label that has none of its own; contains `{label}`.
        replace: Replace the label set of that name, if there is one.

    Raises:
        InvalidInputError: If a name, a label, a prompt or the template can't be used.
        AlreadyExistsError: If there is a label set of that name and `replace` is False.
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model than the active one.
    """
    check_name(name, "A label set")
    prompts = make_prompts(label_names, template)
    check_storable(template, "The template")
    for label, own in prompts.items():
        for text in (label, *own):
            check_storable(text, f"The label {label!r}")
    for _ in range(MODEL_CHANGES):
        with database.connection() as connection:
            model, info = described_model(connection)
            if not replace and labels.find_label_set(connection, name) is not None:
                raise _taken(name)
        embedder = make_embedder(model.key)
        check_same_model(embedder.info, info)
        check_labels(embedder, label_names)
        embeddings = embed_labels(embedder, list(prompts.values()))
        if database.transact(partial(_store, model.model_id, name, template, prompts, embeddings, replace=replace)):
            return
    raise DatabaseConflictError(
        "The active model was changed again and again while the labels were embedded. Try again."
    )


def _store(
    model_id: int,
    name: str,
    template: str,
    prompts: Mapping[str, Sequence[str]],
    embeddings: NDArray[np.float32],
    connection: Connection,
    *,
    replace: bool,
) -> bool:
    """Store a label set with its vectors; False where another model has become the active one meanwhile.

    Other models' vectors are added by their workers.
    """
    active = hold_active_model(connection)
    if active is None or active.model_id != model_id:
        return False
    label_ids = labels.store_label_set(connection, name, template, prompts, replace=replace)
    if label_ids is None:
        raise _taken(name)
    labels.insert_label_embeddings(connection, model_id, label_ids, embeddings)
    return True


def embed_labels_for_model(
    database: Database, embedder: Embedder, model_id: int, *, unreadable: set[int] | None = None
) -> int:
    """Add the vectors that label sets lack under a model, as its workers do every few seconds; returns how many.

    A label of which this model reads nothing, though another one did, goes without.

    Args:
        database: Where the labels are.
        embedder: Of the model.
        model_id: Its key.
        unreadable: Labels that were found to be of that kind; those that are found now are added, and warned of.
    """
    with database.connection() as connection:
        missing = _keep_read(
            embedder, labels.list_missing_labels(connection, model_id), set() if unreadable is None else unreadable
        )
    if not missing:
        return 0
    embeddings = embed_labels(embedder, [prompts for _, prompts in missing])

    def add(connection: Connection) -> int:
        # A label may have been deleted meanwhile; one that is there is held, so that it stays until it has a vector.
        still = labels.hold_labels(connection, [label_id for label_id, _ in missing])
        kept = [index for index, (label_id, _) in enumerate(missing) if label_id in still]
        labels.insert_label_embeddings(connection, model_id, [missing[index][0] for index in kept], embeddings[kept])
        return len(kept)

    return database.transact(add)


def label_scores_of_image_id(database: Database, image_id: int, label_set: str) -> list[LabelScore]:
    """Score an indexed image against each label of a set, best first.

    Raises:
        NotFoundError: If there is no such image or label set, or it has no vectors under the active model.
    """
    image_id = check_image_id(image_id)
    check_name(label_set, "A label set")
    with database.connection() as connection:
        scores = labels.score_image(connection, image_id, label_set)
        if not scores:
            model, _ = described_model(connection)
            if not labels.is_embedded(connection, image_id, model.model_id):
                raise NotFoundError(
                    f"There is no image {image_id}, or it is not embedded under the active model {model.name!r}: it "
                    "may be queued, or have failed (`siglip-ingest status`)."
                )
            _check_has_vectors(labels.find_label_set(connection, label_set), label_set, model.name)
    return scores


def label_scores_of_image(
    database: Database, make_embedder: EmbedderFactory, image: Image.Image, label_set: str
) -> list[LabelScore]:
    """Score a decoded RGB image against each label of a set, best first.

    Raises:
        NotFoundError: If there is no such label set, or it has no vectors under the active model.
        ConfigurationError: If the embedder is of another model than the active one.
    """
    check_name(label_set, "A label set")
    with database.connection() as connection:
        model, _ = described_model(connection)
        row = labels.find_label_set(connection, label_set)
    if row is None:
        _check_has_vectors(row, label_set, model.name)
    model, embedding = embed_query(database, make_embedder, lambda embedder: embedder.embed_images([image]))
    with database.connection() as connection:
        scores = labels.score_embedding(connection, model.model_id, embedding, label_set)
    if not scores:
        _check_has_vectors(row, label_set, model.name)
    return scores


def delete_label_set(database: Database, name: str) -> None:
    """Delete a label set.

    Raises:
        NotFoundError: If there is none of that name.
    """
    check_name(name, "A label set")
    if not database.transact(lambda connection: labels.delete_label_set(connection, name)):
        raise NotFoundError(f"There is no label set {name!r}. `siglip-ingest label list` shows what there is.")


def list_label_sets(database: Database) -> list[LabelSetRow]:
    """All label sets, by name."""
    with database.connection() as connection:
        return labels.list_label_sets(connection)


def _keep_read(
    embedder: Embedder, missing: Sequence[tuple[int, list[str]]], unreadable: set[int]
) -> list[tuple[int, list[str]]]:
    """Leave out the labels that have a prompt of which the model reads nothing, and warn of them."""
    if not isinstance(embedder, TextReader):
        return list(missing)
    kept = []
    for label_id, prompts in missing:
        if label_id in unreadable:
            continue
        if refusals := [refusal for refusal in embedder.describe_refusals(prompts) if refusal is not None]:
            logger.warning(
                "The label %d has no vector under the model %s. %s", label_id, embedder.info.name, refusals[0]
            )
            unreadable.add(label_id)
        else:
            kept.append((label_id, prompts))
    return kept


def _check_has_vectors(row: LabelSetRow | None, name: str, model_name: str) -> None:
    if row is None:
        raise NotFoundError(f"There is no label set {name!r}. `siglip-ingest label list` shows what there is.")
    raise NotFoundError(
        f"The label set {name!r} has no vectors under the active model {model_name!r} yet. A worker of that model "
        "adds them within seconds (`siglip-ingest worker`)."
    )


def _taken(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"There is a label set {name!r} already. Choose another name, or replace it (`replace=True`, `--replace`)."
    )
