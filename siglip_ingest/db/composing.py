"""Searches by several parts. What combines them are functions of the schema: see migrations/schema.sql."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.models import ModelKey
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.db.texts import cut_text
from siglip_ingest.types import ImageMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("composing")

_PART = "\x1f"  # siglip.query_part's: begins what isn't a plain text


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class QueryPart:
    """One part of a query: a text, an indexed image, or a vector.

    Attributes:
        weight: 0.01 to 100; or its negative, where the part isn't wanted.
        query: A text.
        image_id: An indexed image.
        embedding: (D,) vector of the text, where the cache needn't have it; or, without one, of an image.
    """

    weight: float
    query: str | None = None
    image_id: int | None = None
    embedding: NDArray[np.float32] | None = None

    def write(self) -> str:
        """The part as siglip.compose reads it."""
        written: dict[str, Any] = {"weight": self.weight}
        if self.query is not None:
            written["query"] = self.query
        if self.image_id is not None:
            written["image_id"] = self.image_id
        if self.embedding is not None:
            written["embedding"] = str(half_vector(self.embedding).to_list())
        return _PART + json.dumps(written)


@dataclass(frozen=True, slots=True)
class MissingTexts:
    """What the cache lacks.

    Attributes:
        model: The active model.
        queries: Texts that have no vector under it yet, as `cut_text` leaves them.
        can_write: Whether the role may add them.
    """

    model: ModelKey
    queries: list[str]
    can_write: bool


def find_missing_texts(database: Database, queries: Sequence[str]) -> MissingTexts:
    """Find the texts that have no vector under the active model yet.

    Raises:
        NotFoundError: If no model is active, or none has loaded the active one.
    """
    parameters = {"queries": list(dict.fromkeys(map(cut_text, queries)))}
    ((model_id, name, revision, can_write, missing),) = database.fetch(SQL.find_missing_texts, parameters)
    return MissingTexts(ModelKey(model_id, name, revision), missing, can_write)


def find_composed(
    database: Database,
    parts: Sequence[QueryPart],
    options: SearchOptions,
    *,
    timeout_s: float,
    model_id: int | None = None,
) -> list[ImageMatch]:
    """The images that fit several parts best, best first, by default under the active model.

    Raises:
        InvalidInputError: If nothing is wanted, or there are more than 100 parts.
        NotFoundError: If an image of the query isn't there, or isn't embedded.
        WorkerUnavailableError: If a text isn't in the cache, and no worker embeds it in time.
    """
    parameters = {
        "parts": [part.write() for part in parts],
        "timeout_s": timeout_s,
        "model_id": model_id,
        **options.to_parameters(),
    }
    return [
        ImageMatch(image_id, uri, similarity, math.nan if score is None else score, metadata)
        for image_id, uri, similarity, score, metadata in database.fetch(SQL.search_composed, parameters)
    ]
