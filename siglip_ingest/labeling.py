"""Label sets: named lists of labels; every image has a score for each label."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from siglip_ingest.active_model import MODEL_CHANGES, EmbedderFactory, embed_query
from siglip_ingest.db import Connection, Database, label_sets, labels
from siglip_ingest.db.checks import check_image_id, check_name, check_storable
from siglip_ingest.db.labels import LabelSetRow
from siglip_ingest.db.models import ModelRow, check_same_model, described_model, hold_active_model
from siglip_ingest.errors import AlreadyExistsError, DatabaseConflictError, InvalidInputError, NotFoundError
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE, check_labels, embed_labels, make_prompts
from siglip_ingest.types import Embedder, LabelScore, TextChecker

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
    keep: bool | None = None,
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
        keep: Whether `siglip.image_labels` has a row for each image that has one of them; None for as before, and not
            where the set is new.
        replace: Replace the label set of that name, if there is one. Labels of the same names keep their thresholds,
            marks and calibrations.

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
    create = partial(
        label_sets.create_label_set, name=name, template=template, prompts=prompts, keep=keep, replace=replace
    )
    for _ in range(MODEL_CHANGES):
        with database.connection() as connection:
            model, info = described_model(connection)
            if not replace and labels.find_label_set(connection, name) is not None:
                raise _taken(name)
        embedder = make_embedder(model.key)
        check_same_model(embedder.info, info)
        check_labels(embedder, label_names)
        embeddings = embed_labels(embedder, list(prompts.values()))
        if database.transact(partial(_store, model.model_id, embeddings, create)):
            return
    raise DatabaseConflictError(
        "The active model was changed again and again while the labels were embedded. Try again."
    )


def _store(
    model_id: int,
    embeddings: NDArray[np.float32],
    create: Callable[[Connection], list[int]],
    connection: Connection,
) -> bool:
    """Store a label set with its vectors; False where another model has become the active one meanwhile.

    Other models' vectors are added by their workers.
    """
    active = hold_active_model(connection)
    if active is None or active.model_id != model_id:
        return False
    labels.insert_label_embeddings(connection, model_id, create(connection), embeddings)
    return True


def embed_labels_for_model(database: Database, embedder: Embedder, model_id: int) -> int:
    """Add the vectors that label sets lack under a model, as its workers do every few seconds; returns how many.

    A label that the model can't embed, since it reads nothing of a prompt for instance, goes without, and why is stored
    in `siglip.label_refusals`. Labels by example get theirs once their marked images are embedded.

    Args:
        database: Where the labels are.
        embedder: Of the model.
        model_id: Its key.
    """
    with database.connection() as connection:
        missing = labels.list_missing_labels(connection, model_id)
    by_example = database.transact(partial(labels.embed_example_labels, model_id=model_id))
    if not missing:
        return by_example
    refusals = _find_refusals(embedder, missing)
    readable = [(label_id, prompts) for label_id, prompts, _ in missing if label_id not in refusals]
    made: dict[int, NDArray[np.float32]] = {}
    try:
        if readable:
            embeddings = embed_labels(embedder, [prompts for _, prompts in readable])
            made = {label_id: embedding for (label_id, _), embedding in zip(readable, embeddings, strict=True)}
    except InvalidInputError:  # one of them, which doesn't keep the others from having vectors
        for label_id, prompts in readable:
            try:
                made[label_id] = embed_labels(embedder, [prompts])[0]
            except InvalidInputError as error:
                refusals[label_id] = str(error)

    def add(connection: Connection) -> int:
        # A label that was deleted or got other prompts meanwhile is left out; the others are held until that is stored.
        still = labels.hold_labels(connection, [label_id for label_id, _, _ in missing])
        unchanged = {label_id for label_id, prompts, _ in missing if still.get(label_id) == prompts}
        for label_id in sorted(refusals.keys() & unchanged):
            labels.insert_refusal(connection, model_id, label_id, refusals[label_id])
        kept = sorted(made.keys() & unchanged)
        labels.insert_label_embeddings(connection, model_id, kept, [made[label_id] for label_id in kept])
        return len(kept)

    count = database.transact(add)
    for label_id, refusal in sorted(refusals.items()):
        logger.warning("The label %d has no vector under the model %s. %s", label_id, embedder.info.name, refusal)
    return by_example + count


def _find_refusals(embedder: Embedder, missing: Sequence[tuple[int, list[str], list[str]]]) -> dict[int, str]:
    """Why the model can't embed some of the labels: it reads nothing of one of their texts."""
    if not isinstance(embedder, TextChecker):
        return {}
    refusals = {}
    for label_id, _, texts in missing:
        if found := [refusal for refusal in embedder.describe_refusals(texts) if refusal is not None]:
            refusals[label_id] = found[0]
    return refusals


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
            _check_has_vectors(connection, label_set, model)
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
        if labels.find_label_set(connection, label_set) is None:
            _check_has_vectors(connection, label_set, model)
    model, embedding = embed_query(database, make_embedder, lambda embedder: embedder.embed_images([image]))
    with database.connection() as connection:
        scores = labels.score_embedding(connection, model.model_id, embedding, label_set)
        if not scores:
            _check_has_vectors(connection, label_set, model)
    return scores


def delete_label_set(database: Database, name: str) -> None:
    """Delete a label set.

    Raises:
        NotFoundError: If there is none of that name.
    """
    check_name(name, "A label set")
    database.transact(lambda connection: label_sets.drop_label_set(connection, name))


def count_marks(database: Database, name: str) -> int:
    """How many marks of people the labels of a set have; 0 where there is no such set."""
    with database.connection() as connection:
        return label_sets.count_marks(connection, name)


def list_label_sets(database: Database) -> list[LabelSetRow]:
    """All label sets, by name."""
    with database.connection() as connection:
        return labels.list_label_sets(connection)


def _check_has_vectors(connection: Connection, name: str, model: ModelRow) -> None:
    if labels.find_label_set(connection, name) is None:
        raise NotFoundError(f"There is no label set {name!r}. `siglip-ingest label list` shows what there is.")
    if refusals := labels.list_refusals(connection, model.model_id, name):
        label, refusal = next(iter(refusals.items()))
        raise NotFoundError(
            f"The label set {name!r} has no vectors under the active model {model.name!r}: the label {label!r} can't "
            f"be used. {refusal} Give it other prompts (`siglip-ingest label change`)."
        )
    raise NotFoundError(
        f"The label set {name!r} has no vectors under the active model {model.name!r} yet. A worker of that model "
        "adds them within seconds (`siglip-ingest worker`)."
    )


def _taken(name: str) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"There is a label set {name!r} already. Choose another name, or replace it (`replace=True`, `--replace`)."
    )
