"""What goes beyond the best matches of one query. The queries are functions of the schema: see docs/exploring.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from siglip_ingest.db import checks
from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import DuplicateGroup, DuplicatePair, ImageMatch, LabelMatch, Representative

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("exploring")


def narrowing(collection: str | None, filter: Mapping[str, Any] | None) -> dict[str, Any]:  # noqa: A002
    """The parameters that narrow a query to a collection and to metadata, checked.

    Raises:
        InvalidInputError: If one can't be used.
    """
    if collection is not None:
        checks.check_name(collection, "A collection")
    checks.check_mapping(filter, "filter")
    return {"collection": collection, "filter": None if filter is None else Jsonb(dict(filter))}


def find_relevant(
    database: Database, embedding: NDArray[np.float32], model_id: int, *, min_score: float, narrow: Mapping[str, Any]
) -> list[ImageMatch]:
    """All images whose score for a (D,) vector of a model reaches `min_score`, best first."""
    if checks.check_min_score(min_score) is None:
        raise InvalidInputError("min_score must be a number from 0 to 1, not None.")
    parameters = {"embedding": half_vector(embedding), "model_id": model_id, "min_score": min_score, **narrow}
    return [_match(*row) for row in database.fetch(SQL.find_relevant, parameters)]


def find_diverse(
    database: Database, query: NDArray[np.float32] | int, model_id: int | None, options: Mapping[str, Any]
) -> list[ImageMatch]:
    """The images nearest to a (D,) vector of a model, or to an indexed image, without those too like a better one."""
    if isinstance(query, int):
        return [_match(*row) for row in database.fetch(SQL.find_diverse_like, {"image_id": query, **options})]
    parameters = {"embedding": half_vector(query), "model_id": model_id, **options}
    return [_match(*row) for row in database.fetch(SQL.find_diverse, parameters)]


def find_labelled(database: Database, label_set: str | None, options: Mapping[str, Any]) -> list[LabelMatch]:
    """The images that have all labels of `all_of`, one of `any_of` and none of `none_of`, best first."""
    parameters = {"label_set": label_set, **options}
    return [LabelMatch(*row) for row in database.fetch(SQL.find_labelled, parameters)]


def find_last_content(database: Database) -> int:
    """The largest `content_id` of an image; 0 where there is none."""
    ((content_id,),) = database.fetch(SQL.find_last_content)
    return content_id or 0


def find_near_duplicates(
    database: Database,
    model_id: int,
    *,
    min_similarity: float,
    narrow: Mapping[str, Any],
    after_content_id: int,
    up_to_content_id: int | None,
) -> list[DuplicatePair]:
    """The pairs of images that are alike, of which the smaller content lies in a range of content ids."""
    parameters = {
        "min_similarity": min_similarity,
        "model_id": model_id,
        "after_content_id": after_content_id,
        "up_to_content_id": up_to_content_id,
        **narrow,
    }
    return [DuplicatePair(*row) for row in database.fetch(SQL.find_near_duplicates, parameters)]


def find_duplicate_groups(
    database: Database, *, min_similarity: float, narrow: Mapping[str, Any]
) -> list[DuplicateGroup]:
    """The groups of images that pairs connect, largest first."""
    rows = database.fetch(SQL.find_duplicate_groups, {"min_similarity": min_similarity, **narrow})
    return [DuplicateGroup(tuple(image_ids), similarity) for image_ids, similarity in rows]


def find_representatives(
    database: Database, *, count: int, sample_size: int, seed: int, narrow: Mapping[str, Any]
) -> list[Representative]:
    """Images that stand for all, the one that stands for the most first."""
    parameters = {"count": count, "sample_size": sample_size, "seed": seed, **narrow}
    return [Representative(*row) for row in database.fetch(SQL.find_representatives, parameters)]


def _match(image_id: int, uri: str, similarity: float, score: float | None, metadata: dict[str, Any]) -> ImageMatch:
    return ImageMatch(image_id, uri, similarity, math.nan if score is None else score, metadata)
