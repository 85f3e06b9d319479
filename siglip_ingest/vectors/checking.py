"""Checks vectors: finite numbers, length 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NORM_TOLERANCE = 0.01  # a unit vector of 4,000 elements in half precision is within 0.001


def check_vectors(vectors: NDArray[np.floating], first_row: int, name: str, *, normalize: bool = False) -> None:
    """Check a batch of vectors.

    Args:
        vectors: (N, D) float16 or float32, in any byte order.
        first_row: Number of the first one in its file, from 0, for messages.
        name: Of the file, for messages.
        normalize: Whether they will be normalised; else the norm of each must be 1.

    Raises:
        InvalidInputError: If a vector has NaN or infinite elements, has no direction (all zero), or hasn't the norm 1.
    """
    norms = _norms(vectors.astype(np.float32, copy=False), first_row, name)
    wrong = np.flatnonzero(np.abs(norms - 1) > NORM_TOLERANCE)
    if wrong.size and not normalize:
        raise InvalidInputError(
            f"{name}: the vector of row {first_row + wrong[0]} (from 0) has the norm {norms[wrong[0]]:.4g}, not 1. "
            "Normalise the vectors, or have it done (`--normalize`, `normalize=True`)."
        )


def round_vectors(vectors: NDArray[np.floating], *, normalize: bool = False) -> NDArray[np.float16]:
    """Round checked (N, D) vectors to half precision; with `normalize` each is divided by its norm first.

    Without it, those that were float16 are what they were.
    """
    if normalize:
        wide = vectors.astype(np.float32, copy=False)
        vectors = wide / _norms(wide, 0, "")[:, None]
    return vectors.astype(np.float16)


def _norms(wide: NDArray[np.float32], first_row: int, name: str) -> NDArray[np.floating]:
    """The norm of each vector. Raises as `check_vectors` does, but for norms that aren't 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms: NDArray[np.floating] = np.sqrt(np.einsum("nd,nd->n", wide, wide))
    if not np.isfinite(norms).all() or not (norms > 0).all():
        return _exact_norms(wide, norms, first_row, name)
    return norms


def _exact_norms(
    wide: NDArray[np.float32], norms: NDArray[np.floating], first_row: int, name: str
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
