"""Exact answers, computed by numpy on the same half-precision vectors, and how much of them a search found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CHUNK = 100_000
ROUNDING = 1e-5  # between numpy's sums and pgvector's


def find_similarities(vectors: NDArray[np.float16], queries: NDArray[np.float32]) -> NDArray[np.float32]:
    """Similarities (Q, N) of half-precision queries with half-precision vectors."""
    rounded = queries.astype(np.float16).astype(np.float32)
    similarities = np.empty((len(queries), len(vectors)), np.float32)
    for start in range(0, len(vectors), CHUNK):
        similarities[:, start : start + CHUNK] = rounded @ vectors[start : start + CHUNK].astype(np.float32).T
    return similarities


def find_kth(similarities: NDArray[np.float32], k: int) -> float:
    """The k-th greatest similarity, or the smallest where there are fewer; infinity where there are none."""
    if len(similarities) == 0:
        return float("inf")
    k = min(k, len(similarities))
    return float(np.partition(similarities, len(similarities) - k)[len(similarities) - k])


def compute_recall(
    found: Sequence[int], similarities: NDArray[np.float32], passes: NDArray[np.bool_] | None, k: int
) -> float:
    """The part of the k nearest rows that was found; of equals, any counts.

    Args:
        found: Row numbers.
        similarities: (N,) of all rows.
        passes: (N,) whether a row may be found; None where each may.
        k: How many were asked for.

    Raises:
        SystemExit: If a row was found twice, or one that may not be found: no recall makes up for that.
    """
    if len(set(found)) < len(found) or len(found) > k:
        raise SystemExit(f"A search for {k} rows returned {len(found)}, some of them twice: {sorted(found)}.")
    rows = np.asarray(found, dtype=np.int64)
    if passes is not None and not passes[rows].all():
        raise SystemExit(f"A search returned rows that its filter excludes: {rows[~passes[rows]].tolist()}.")
    allowed = similarities if passes is None else similarities[passes]
    if len(allowed) == 0:
        return 1.0
    right = int((similarities[rows] >= find_kth(allowed, k) - ROUNDING).sum())
    return right / min(k, len(allowed))
