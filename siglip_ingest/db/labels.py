"""The tables `siglip.label_sets`, `siglip.labels` and `siglip.label_embeddings`: labels to score images by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.types import LabelScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("labels")


@dataclass(frozen=True, slots=True)
class LabelSetRow:
    """A label set.

    Attributes:
        label_set_id: Its key.
        name: What it is called.
        template: What made the prompts of labels that had none of their own.
        labels: Its labels, in the order in which they were given.
    """

    label_set_id: int
    name: str
    template: str
    labels: list[str]


def store_label_set(
    connection: Connection, name: str, template: str, prompts: Mapping[str, Sequence[str]], *, replace: bool
) -> list[int] | None:
    """Store a label set; two callers that replace one wait for each other, and the second one's counts.

    Args:
        connection: In a transaction.
        name: What it is called.
        template: What made the prompts.
        prompts: The labels, in order, each with its prompts.
        replace: Replace the label set of that name, if there is one.

    Returns:
        The `label_id` of each label, in order; None where the name is taken.
    """
    parameters: dict[str, object] = {"name": name, "template": template, "replace": replace}
    row = connection.execute(SQL.upsert_label_set, parameters).fetchone()
    if row is None:
        return None
    connection.execute(SQL.delete_labels, {"label_set_id": row[0]})
    label_ids: list[int] = []
    for position, (label, texts) in enumerate(prompts.items()):
        parameters = {"label_set_id": row[0], "position": position, "label": label, "prompts": list(texts)}
        ((label_id,),) = connection.execute(SQL.insert_label, parameters)
        label_ids.append(label_id)
    return label_ids


def insert_label_embeddings(
    connection: Connection, model_id: int, label_ids: Sequence[int], embeddings: NDArray[np.float32]
) -> None:
    """Store the unit vectors of labels under a model: (N, D) for N labels. Those that are there are replaced."""
    with connection.cursor() as cursor:
        cursor.executemany(
            SQL.upsert_label_embedding,
            [
                {"model_id": model_id, "label_id": label_id, "embedding": half_vector(embedding)}
                for label_id, embedding in zip(label_ids, embeddings, strict=True)
            ],
        )


def delete_label_set(connection: Connection, name: str) -> bool:
    """Delete a label set with its vectors; returns False where there is none of that name."""
    return connection.execute(SQL.delete_label_set, {"name": name}).rowcount == 1


def find_label_set(connection: Connection, name: str) -> LabelSetRow | None:
    """The label set of that name; None where there is none."""
    return next(iter(_list_label_sets(connection, name)), None)


def list_label_sets(connection: Connection) -> list[LabelSetRow]:
    """All label sets, by name."""
    return _list_label_sets(connection, None)


def _list_label_sets(connection: Connection, name: str | None) -> list[LabelSetRow]:
    return [LabelSetRow(*row) for row in connection.execute(SQL.list_label_sets, {"name": name})]


def list_missing_labels(connection: Connection, model_id: int) -> list[tuple[int, list[str]]]:
    """The labels that have no vector under a model: (label_id, prompts) of each."""
    return [
        (label_id, prompts) for label_id, prompts in connection.execute(SQL.list_missing_labels, {"model_id": model_id})
    ]


def hold_labels(connection: Connection, label_ids: Sequence[int]) -> set[int]:
    """Those of the labels that are still there, which can't be deleted before the transaction ends."""
    parameters = {"label_ids": list(label_ids)}
    return {label_id for (label_id,) in connection.execute(SQL.hold_labels, parameters)}


def score_image(connection: Connection, image_id: int, name: str) -> list[LabelScore]:
    """Scores of an indexed image for each label of a label set under the active model, best first; or none."""
    parameters = {"image_id": image_id, "name": name}
    return [LabelScore(*row) for row in connection.execute(SQL.score_image, parameters)]


def score_embedding(
    connection: Connection, model_id: int, embedding: NDArray[np.float32], name: str
) -> list[LabelScore]:
    """Scores of a (D,) image vector of a model for each label of a label set, best first; or none."""
    parameters = {"embedding": half_vector(embedding), "name": name, "model_id": model_id}
    return [LabelScore(*row) for row in connection.execute(SQL.score_embedding, parameters)]


def is_embedded(connection: Connection, image_id: int, model_id: int) -> bool:
    """True where there is such an image, and it has a vector under the model."""
    parameters = {"image_id": image_id, "model_id": model_id}
    return connection.execute(SQL.is_image_embedded, parameters).fetchone() == (True,)
