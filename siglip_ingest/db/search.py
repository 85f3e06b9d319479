"""Vector searches. The queries themselves are the functions of the schema: see sql/ of siglip_migrations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from siglip_ingest.db.pool import Connection
from siglip_ingest.db.statements import load_statement
from siglip_ingest.db.vectors import vector_text
from siglip_ingest.types import ImageMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def find_nearest(
    connection: Connection,
    embedding: NDArray[np.float32],
    *,
    limit: int,
    collection: str | None,
    filter: Mapping[str, Any] | None,  # noqa: A002  # the word of the SQL function and of the client
    min_score: float | None,
) -> list[ImageMatch]:
    """The images nearest to a (D,) unit vector of the active model, best first."""
    parameters = {"embedding": vector_text(embedding), **_options(limit, collection, filter, min_score)}
    rows: list[Any] = connection.execute(load_statement("search_images"), parameters).fetchall()
    return [ImageMatch(*row) for row in rows]


def find_similar(
    connection: Connection,
    image_id: int,
    *,
    limit: int,
    collection: str | None,
    filter: Mapping[str, Any] | None,  # noqa: A002
    min_score: float | None,
) -> list[ImageMatch]:
    """The images most similar to an indexed one, best first, without that one."""
    parameters = {"image_id": image_id, **_options(limit, collection, filter, min_score)}
    rows: list[Any] = connection.execute(load_statement("similar_images"), parameters).fetchall()
    return [ImageMatch(*row) for row in rows]


def _options(
    limit: int,
    collection: str | None,
    filter: Mapping[str, Any] | None,  # noqa: A002
    min_score: float | None,
) -> dict[str, Any]:
    return {
        "limit": limit,
        "collection": collection,
        "filter": None if filter is None else Jsonb(dict(filter)),
        "min_score": min_score,
    }
