"""What the tests of calibrated labels share: images at known similarities to a label, and calls in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database
from tests.database.helpers import DIMENSION, INFO, FakeEmbedder, index_images, text_vector, unit_vectors

LABEL = "sunset"
AXIS = text_vector("This is a photo of sunset.")


def make_fake(_: object) -> FakeEmbedder:
    return FakeEmbedder()


def to_logits(similarities: Any) -> NDArray[np.float64]:
    """The logits of a fake model's similarities."""
    logits: NDArray[np.float64] = np.exp(INFO.logit_scale) * np.asarray(similarities, np.float64) + INFO.logit_bias
    return logits


def sigmoid(logits: Any) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    return result


def vectors_at(similarities: Sequence[float] | NDArray[np.float64], seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors at these similarities to the label's own, elsewhere at random."""
    others = unit_vectors(len(similarities), DIMENSION, seed)
    others -= np.outer(others @ AXIS, AXIS)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    cosines = np.asarray(similarities, np.float32)[:, None]
    vectors: NDArray[np.float32] = (cosines * AXIS + np.sqrt(1 - cosines**2) * others).astype(np.float32)
    return vectors


def index_at(database: Database, model_id: int, similarities: Sequence[float] | NDArray[np.float64]) -> list[int]:
    """Images at these similarities to the label sunset of the label set scenes; returns their ids."""
    labeling.create_label_set(database, make_fake, "scenes", [LABEL, "night sky", "forest"])
    return index_images(database, model_id, vectors_at(similarities))


def row_of(connection: Connection, statement: str, *parameters: Any) -> dict[str, Any]:
    """The only row that a statement gives, by the names of its columns."""
    cursor = connection.execute(statement.encode(), parameters)
    names = [column.name for column in cursor.description or ()]
    (row,) = cursor.fetchall()
    return dict(zip(names, row, strict=True))


def rows_of(connection: Connection, statement: str, *parameters: Any) -> list[Any]:
    return connection.execute(statement.encode(), parameters).fetchall()


def calibrate(connection: Connection, positives: Sequence[int], negatives: Sequence[int], more: str = "") -> Any:
    """Calibrate the label sunset."""
    return row_of(
        connection,
        f"SELECT * FROM siglip.calibrate('scenes', 'sunset', %s::bigint[], %s::bigint[]{more})",
        list(positives),
        list(negatives),
    )
