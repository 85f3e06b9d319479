"""Searching by text, by an image, or by an image that is indexed, under the database's active model.

The model is read once, and its key goes through every call of a search: a switch to another model in the middle of it
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from siglip_ingest.active_model import MODEL_CHANGES, EmbedderFactory, embed_query
from siglip_ingest.db import Database
from siglip_ingest.db import search as queries
from siglip_ingest.db.checks import check_image_id, check_options, check_query
from siglip_ingest.db.models import ModelKey, check_same_revision
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.db.texts import MAX_TEXT_BYTES, cut_text
from siglip_ingest.errors import DatabaseConflictError, InvalidInputError
from siglip_ingest.types import Embedder, ImageMatch, TextReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

TOO_LONG = (
    "The text has {size:,} bytes{more}, and what the model would read of it goes on after the first "
    f"{MAX_TEXT_BYTES:,}, which is what is kept. Take blanks and signs out that say nothing."
)


def search_by_text(
    database: Database,
    make_embedder: Callable[[ModelKey], Embedder | None] | None,
    query: str,
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002  # the word that users of vector databases look for
    min_score: float | None = None,
    timeout_s: float = 10.0,
    max_cached_texts: int | None = None,
) -> list[ImageMatch]:
    """Find the images that fit a text best, best first.

    One round trip where the database has the text's vector already, or where a worker embeds it meanwhile; else one to
    learn that it hasn't, and one that stores the vector and searches.

    Args:
        database: Where the images are.
        make_embedder: Gives an embedder of a model, if the text's vector isn't in the database yet; None, or what gives
            None, leaves the text to a worker.
        query: What the images show.
        limit: Most matches to return, 1 to 10,000.
        collection: Search only this collection.
        filter: Only images whose metadata contain these keys and values.
        min_score: Only matches whose score, in [0, 1], is at least this.
        timeout_s: Seconds that a worker has to embed the text.
        max_cached_texts: Texts that the database keeps for a model; by default as many as it is set to.

    Raises:
        InvalidInputError: If an argument is out of its range, the query is empty, or the model can't read it.
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model than the active one.
        WorkerUnavailableError: If a worker was to embed the text, and none did.
    """
    check_query(query)
    options = make_options(limit, collection, filter, min_score)
    if make_embedder is None:
        return queries.find_by_text(database, query, options, timeout_s=timeout_s)
    for _ in range(MODEL_CHANGES):
        found = queries.find_by_cached_text(database, query, options)
        if found.matches is not None:
            return found.matches
        embedder = make_embedder(found.model)
        if embedder is None:
            return queries.find_by_text(database, query, options, timeout_s=timeout_s)
        embedding, warning = _embed_text(embedder, found.model, query)
        try:
            return queries.find_by_embedded_text(
                database, query, embedding, found.model, options, warning=warning, max_rows=max_cached_texts
            )
        except DatabaseConflictError:  # the model was taken out meanwhile: search under the one that is active now
            continue
    raise DatabaseConflictError("The active model was changed again and again while the search ran. Try again.")


def search_by_image(
    database: Database,
    make_embedder: EmbedderFactory,
    image: Image.Image,
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    min_score: float | None = None,
) -> list[ImageMatch]:
    """Find the images that resemble a decoded RGB image, best first. Arguments and errors as for `search_by_text`."""
    options = make_options(limit, collection, filter, min_score)
    model, embedding = embed_query(database, make_embedder, lambda embedder: embedder.embed_images([image]))
    return queries.find_nearest(database, embedding, options, model_id=model.model_id)


def search_by_embedding(
    database: Database,
    embedding: NDArray[np.float32],
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    min_score: float | None = None,
    model_id: int | None = None,
) -> list[ImageMatch]:
    """Find the images nearest to a (D,) float32 vector of a model, by default of the active one, best first.

    Raises:
        InvalidInputError: If an argument is out of its range, or the vector has not the model's dimension.
        NotFoundError: If no model is active yet, or there is no such model.
    """
    options = make_options(limit, collection, filter, min_score)
    return queries.find_nearest(database, embedding, options, model_id=model_id)


def similar_images(
    database: Database,
    image_id: int,
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    min_score: float | None = None,
) -> list[ImageMatch]:
    """Find the images most like an indexed one, best first, without that one.

    Raises:
        InvalidInputError: If an argument is out of its range.
        NotFoundError: If there is no such image, or it isn't embedded under the active model.
    """
    options = make_options(limit, collection, filter, min_score)
    return queries.find_similar(database, check_image_id(image_id), options)


def _embed_text(embedder: Embedder, model: ModelKey, query: str) -> tuple[NDArray[np.float32], str | None]:
    """Embed what the database keeps of a text; returns its (D,) vector and what the model doesn't read of it."""
    check_same_revision(embedder.info, model)
    kept = cut_text(query)
    if kept != query and isinstance(embedder, TextReader) and not embedder.is_settled(kept):
        raise InvalidInputError(TOO_LONG.format(size=len(query.encode()), more=""))
    embedding: NDArray[np.float32] = embedder.embed_texts([kept])[0]
    return embedding, embedder.describe_truncation([kept]) if isinstance(embedder, TextReader) else None


def make_options(
    limit: int,
    collection: str | None,
    filter: Mapping[str, Any] | None,  # noqa: A002
    min_score: float | None,
) -> SearchOptions:
    """Check what all searches share.

    Raises:
        InvalidInputError: If one of the four is out of range or of the wrong kind.
    """
    limit, min_score = check_options(limit, collection, filter, min_score)
    return SearchOptions(limit=limit, collection=collection, filter=filter, min_score=min_score)
