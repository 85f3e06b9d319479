"""The table `siglip.texts`: a cache of the vectors of queries and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from siglip_ingest.db.pool import Connection
from siglip_ingest.db.statements import load_statement
from siglip_ingest.db.vectors import parse_vector, vector_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def find_text(connection: Connection, model_id: int, query: str) -> NDArray[np.float32] | None:
    """The (D,) float32 unit vector of a text as typed; None where the cache hasn't got it."""
    parameters = {"model_id": model_id, "query": query}
    row = connection.execute(load_statement("find_text"), parameters).fetchone()
    if row is None:
        return None
    elements, is_to_touch = cast("tuple[Sequence[float], bool]", row)
    if is_to_touch:
        connection.execute(load_statement("touch_text"), parameters)
    return parse_vector(elements)


def can_insert_texts(connection: Connection) -> bool:
    """True where the cache can be written to; a role that only searches may have no right to."""
    return connection.execute(load_statement("can_insert_texts")).fetchone() == (True,)


def insert_text(connection: Connection, model_id: int, query: str, embedding: NDArray[np.float32]) -> None:
    """Remember a text's (D,) unit vector; one that is there already stays."""
    parameters = {"model_id": model_id, "query": query, "embedding": vector_text(embedding)}
    connection.execute(load_statement("insert_text"), parameters)


def trim_texts(connection: Connection, model_id: int, max_rows: int) -> int:
    """Forget the texts that were used longest ago, all but `max_rows`; returns how many."""
    return connection.execute(load_statement("trim_texts"), {"model_id": model_id, "max_rows": max_rows}).rowcount
