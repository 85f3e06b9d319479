"""The tables `siglip.label_sets`, `siglip.labels` and `siglip.label_embeddings`: labels to score images by."""

from __future__ import annotations

from collections.abc import Sequence
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


def insert_label_embeddings(
    connection: Connection,
    model_id: int,
    label_ids: Sequence[int],
    embeddings: NDArray[np.float32] | Sequence[NDArray[np.float32]],
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


def insert_refusal(connection: Connection, model_id: int, label_id: int, refusal: str) -> None:
    """Say why a model can't embed a label."""
    connection.execute(SQL.insert_label_refusal, {"model_id": model_id, "label_id": label_id, "refusal": refusal})


def list_refusals(connection: Connection, model_id: int, name: str) -> dict[str, str]:
    """The labels of a set that a model can't embed, in order, and why."""
    rows = connection.execute(SQL.list_label_refusals, {"model_id": model_id, "name": name}).fetchall()
    return dict(rows)


def find_label_set(connection: Connection, name: str) -> LabelSetRow | None:
    """The label set of that name; None where there is none."""
    return next(iter(list_label_sets(connection, name)), None)


def list_label_sets(connection: Connection, name: str | None = None) -> list[LabelSetRow]:
    """The label set of a name, or all by name."""
    return [LabelSetRow(*row) for row in connection.execute(SQL.list_label_sets, {"name": name})]


def list_missing_labels(connection: Connection, model_id: int) -> list[tuple[int, list[str], list[str]]]:
    """The labels that a model has yet to embed: (label_id, prompts, texts that it must be able to read) of each."""
    return [
        (label_id, prompts, read)
        for label_id, prompts, read in connection.execute(SQL.list_missing_labels, {"model_id": model_id})
    ]


def embed_example_labels(connection: Connection, model_id: int) -> int:
    """Make the vectors that labels by example lack under a model, out of their marked images; returns how many."""
    ((count,),) = connection.execute(SQL.embed_example_labels, {"model_id": model_id})
    return int(count)


def hold_labels(connection: Connection, label_ids: Sequence[int]) -> dict[int, list[str]]:
    """The prompts of those of the labels that are still there; nobody changes these before the transaction ends."""
    parameters = {"label_ids": list(label_ids)}
    return dict(connection.execute(SQL.hold_labels, parameters).fetchall())


def refresh_labels(connection: Connection) -> int:
    """Do one step of bringing kept labels up to date, for instance after a change of a threshold or of the model.

    Returns:
        0 where nothing is left to do, or another session does it.
    """
    ((done,),) = connection.execute(SQL.refresh_labels).fetchall()
    return int(done)


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
