"""Label sets: vocabularies whose labels every image has a score for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from siglip_ingest.db import Connection, Database, labels
from siglip_ingest.db.labels import LabelSetRow
from siglip_ingest.db.models import hold_active_model
from siglip_ingest.db.query import (
    EmbedderFactory,
    check_image_id,
    check_same_model,
    check_storable,
    described_model,
    embed_query,
)
from siglip_ingest.errors import AlreadyExistsError, DatabaseConflictError, InvalidInputError, NotFoundError
from siglip_ingest.prompts import DEFAULT_TEMPLATE, embed_labels, make_prompts
from siglip_ingest.types import Embedder, LabelScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

MODEL_CHANGES = 3  # so many switches may happen while one vocabulary is embedded


def create_label_set(
    database: Database,
    make_embedder: EmbedderFactory,
    name: str,
    label_names: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    template: str = DEFAULT_TEMPLATE,
    replace: bool = False,
) -> None:
    """Store a vocabulary and its vectors under the active model.

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
    if not isinstance(name, str) or not name.strip():
        raise InvalidInputError("A label set needs a name; an empty one was given.")
    check_storable(name, "The label set's name")
    prompts = make_prompts(label_names, template)
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
    """Store a vocabulary with its vectors; False where another model has become the active one meanwhile.

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


def embed_labels_for_model(database: Database, embedder: Embedder, model_id: int) -> int:
    """Add the vectors that label sets lack under a model, as its workers do every few seconds; returns how many."""
    with database.connection() as connection:
        missing = labels.list_missing_labels(connection, model_id)
    if not missing:
        return 0
    embeddings = embed_labels(embedder, [prompts for _, prompts in missing])

    def add(connection: Connection) -> int:
        # A label set may have been deleted meanwhile; what is still there is held, so that it stays until it has a vector.
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
    check_image_id(image_id)
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
    """Score a decoded RGB picture against each label of a set, best first.

    Raises:
        NotFoundError: If there is no such label set, or it has no vectors under the active model.
        ConfigurationError: If the embedder is of another model than the active one.
    """
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
    with database.connection() as connection:
        if not labels.delete_label_set(connection, name):
            raise NotFoundError(f"There is no label set {name!r}. `siglip-ingest label list` shows what there is.")


def list_label_sets(database: Database) -> list[LabelSetRow]:
    """All label sets, by name."""
    with database.connection() as connection:
        return labels.list_label_sets(connection)


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
