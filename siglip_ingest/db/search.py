"""Vector searches. The queries themselves are functions of the schema: see migrations/schema.sql.

Each search is one statement: one round trip, in autocommit mode.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from psycopg.types.json import Jsonb

from siglip_ingest.db import checks
from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.models import ModelKey
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import ImageMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("search")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """What narrows a search, checked when it is made; numpy's numbers become Python's.

    Attributes:
        limit: Most matches to return, 1 to 10,000.
        collection: Search only this collection.
        filter: Only images whose metadata contain these keys and values.
        min_score: Only matches whose score, in [0, 1], is at least this.
        image_ids: Only these images, for instance those that a query on tables of one's own has found.
        offset: Leave out so many of the best; the page after `limit` matches.
        after: Begin behind this match, or behind its (similarity, image_id): pages that neither skip nor repeat an
            image while others arrive.

    Raises:
        InvalidInputError: If one of them is out of range or of the wrong kind.
    """

    limit: int = 10
    collection: str | None = None
    filter: Mapping[str, Any] | None = None
    min_score: float | None = None
    image_ids: Iterable[int] | None = None
    offset: int = 0
    after: ImageMatch | tuple[float, int] | None = None

    def __post_init__(self) -> None:
        if self.collection is not None:
            checks.check_name(self.collection, "A collection")
        checks.check_mapping(self.filter, "filter")
        object.__setattr__(self, "limit", checks.check_limit(self.limit))
        object.__setattr__(self, "min_score", checks.check_min_score(self.min_score))
        object.__setattr__(self, "image_ids", checks.check_image_ids(self.image_ids))
        object.__setattr__(self, "offset", checks.check_offset(self.offset))
        after = (self.after.similarity, self.after.image_id) if isinstance(self.after, ImageMatch) else self.after
        object.__setattr__(self, "after", checks.check_position(after))
        if self.after is not None and self.offset:
            raise InvalidInputError("Give offset or after, not both: after goes on behind a match, wherever it is.")

    def to_parameters(self) -> dict[str, Any]:
        """The parameters of the statements in search.sql."""
        return {
            "limit": self.limit,
            "collection": self.collection,
            "filter": None if self.filter is None else Jsonb(dict(self.filter)),
            "min_score": self.min_score,
            "image_ids": self.image_ids,
            "offset": self.offset,
            "after": None if self.after is None else "({!r},{})".format(*cast("tuple[float, int]", self.after)),
        }


@dataclass(frozen=True, slots=True)
class CachedSearch:
    """What a search among the cached texts found.

    Attributes:
        model: The model that it was done under, the active one.
        matches: Best first; None where the text's vector isn't in the cache.
    """

    model: ModelKey
    matches: list[ImageMatch] | None


def find_by_cached_text(database: Database, query: str, options: SearchOptions) -> CachedSearch:
    """Search under the active model by a text whose vector may be in the cache.

    Raises:
        NotFoundError: If no model is active, or none has loaded the active one.
    """
    rows = database.fetch(SQL.search_cached_text, {"query": query, **options.to_parameters()})
    model_id, name, revision, is_cached = rows[0][:4]
    matches = [_match(*row[4:]) for row in rows if row[4] is not None]
    return CachedSearch(ModelKey(model_id, name, revision), matches if is_cached else None)


def find_by_embedded_text(
    database: Database,
    query: str,
    embedding: NDArray[np.float32],
    model: ModelKey,
    options: SearchOptions,
    *,
    warning: str | None,
    max_rows: int | None,
) -> list[ImageMatch]:
    """Cache a text's (D,) vector, which `model` made, where the role may; and search with it.

    Raises:
        DatabaseConflictError: If that model was taken out meanwhile.
    """
    parameters = {
        "query": query,
        "embedding": half_vector(embedding),
        "model_id": model.model_id,
        "name": model.name,
        "revision": model.revision,
        "warning": warning,
        "max_rows": max_rows,
        **options.to_parameters(),
    }
    return [_match(*row) for row in database.fetch(SQL.search_embedded_text, parameters)]


def find_by_text(
    database: Database, query: str, options: SearchOptions, *, timeout_s: float, model_id: int | None = None
) -> list[ImageMatch]:
    """Search by a text, by default under the active model; a new one is embedded by a worker while the statement waits.

    Raises:
        WorkerUnavailableError: If no worker is there, or none answers in time.
    """
    parameters = {"query": query, "model_id": model_id, "timeout_s": timeout_s, **options.to_parameters()}
    return [_match(*row) for row in database.fetch(SQL.search_text, parameters)]


def find_nearest(
    database: Database, embedding: NDArray[np.float32], options: SearchOptions, *, model_id: int | None = None
) -> list[ImageMatch]:
    """The images nearest to a (D,) unit vector of a model, by default of the active one, best first."""
    parameters = {"embedding": half_vector(embedding), "model_id": model_id, **options.to_parameters()}
    return [_match(*row) for row in database.fetch(SQL.search_images, parameters)]


def find_similar(database: Database, image_id: int, options: SearchOptions) -> list[ImageMatch]:
    """The images most similar to an indexed one, best first, without that one."""
    parameters = {"image_id": image_id, **options.to_parameters()}
    return [_match(*row) for row in database.fetch(SQL.similar_images, parameters)]


def _match(image_id: int, uri: str, similarity: float, score: float | None, metadata: dict[str, Any]) -> ImageMatch:
    return ImageMatch(image_id, uri, similarity, math.nan if score is None else score, metadata)
