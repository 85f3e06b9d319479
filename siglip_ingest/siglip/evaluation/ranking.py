"""Ranks the right answer among all, for recall@k and top-k accuracy, without a matrix of all similarities."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import InvalidInputError

BLOCK_ELEMENTS = 1 << 24  # similarities at a time: 64 MB of float32


def find_ranks(
    queries: NDArray[np.float32],
    keys: NDArray[np.float32],
    query_groups: NDArray[np.int64],
    key_groups: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Count, for each query, the wrong keys that are at least as similar as its best right one.

    Equal similarities count against the query, so that a model that gives one vector for everything ranks last.

    Args:
        queries: (N, D) unit vectors.
        keys: (M, D) unit vectors.
        query_groups: (N,) what each query belongs to.
        key_groups: (M,) what each key belongs to; a key of a query's own group is right. Every query has one.

    Returns:
        (N,) int64, 0 where a right key comes first.

    Raises:
        InvalidInputError: If a query has no right key.
    """
    if missing := sorted(set(query_groups.tolist()) - set(key_groups.tolist())):
        raise InvalidInputError(f"Nothing is right for the queries of group {missing[0]}: no key belongs to it.")
    ranks = np.empty(len(queries), dtype=np.int64)
    rows = max(1, BLOCK_ELEMENTS // max(1, len(keys)))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        similarities = queries[block] @ keys.T
        is_right = query_groups[block, None] == key_groups[None, :]
        best = np.where(is_right, similarities, -np.inf).max(axis=1, keepdims=True)
        ranks[block] = ((similarities >= best) & ~is_right).sum(axis=1)
    return ranks


def share_within(ranks: NDArray[np.int64], k: int) -> float:
    """Give the share of ranks below k, which is recall@k, or top-k accuracy, in [0, 1]."""
    return float((ranks < k).mean())
