"""Checks vectors: finite numbers, length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORM_TOLERANCE = 0.01  # a unit vector of 4,000 elements in half precision is within 0.001


def prepare_vectors(
    vectors: NDArray[np.floating], first_row: int, name: str, *, normalize: bool = False
) -> NDArray[np.float16]:
    """Check a batch of vectors, and round it to half precision.

    Args:
        vectors: (N, D) float16 or float32, in any byte order.
        first_row: Number of the first one in its file, from 0, for messages.
        name: Of the file, for messages.
        normalize: Divide each vector by its norm; else it must be 1.

    Returns:
        (N, D) unit vectors. Those that were float16 and of norm 1 are what they were.

    Raises:
        InvalidInputError: If a vector has NaN or infinite elements, has no direction (all zero), or hasn't the norm 1.
    """
    wide = vectors.astype(np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    if not np.isfinite(norms).all() or not (norms > 0).all():
        norms = _exact_norms(wide, norms, first_row, name)
    if normalize:
        scaled: NDArray[np.float16] = (wide / norms[:, None]).astype(np.float16)
        return scaled
    wrong = np.flatnonzero(np.abs(norms - 1) > NORM_TOLERANCE)
    if wrong.size:
        raise InvalidInputError(
            f"{name}: the vector of row {first_row + wrong[0]} (from 0) has the norm {norms[wrong[0]]:.4g}, not 1. "
            "Normalise the vectors, or have it done (`--normalize`, `normalize=True`)."
        )
    narrow: NDArray[np.float16] = vectors.astype(np.float16)
    return narrow


def _exact_norms(
    wide: NDArray[np.float32], norms: NDArray[np.float32], first_row: int, name: str
) -> NDArray[np.floating]:
    """The norms of vectors whose squares leave float32's range; refuses what is no vector."""
    exact = norms.astype(np.float64)
    for row in np.flatnonzero(~np.isfinite(norms) | (norms == 0)):
        place = f"{name}: the vector of row {first_row + row} (from 0)"
        if not np.isfinite(wide[row]).all():
            raise InvalidInputError(f"{place} holds NaN or infinite numbers.")
        exact[row] = np.linalg.norm(wide[row].astype(np.float64))
        if exact[row] == 0:
            raise InvalidInputError(f"{place} is zero: it has no direction to search by.")
    return exact
