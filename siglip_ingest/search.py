"""Searching by text, by an image, or by an image that is indexed, under the database's active model.

The model is read once, and its key goes through every call of a search: a switch to another model in the middle of it
changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from siglip_ingest.active_model import MODEL_CHANGES, EmbedderFactory, embed_query
from siglip_ingest.db import Database, search as queries
from siglip_ingest.db.checks import check_image_id, check_query, check_vector
from siglip_ingest.db.models import ModelKey, check_same_revision
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.db.texts import MAX_TEXT_BYTES, cut_text
from siglip_ingest.errors import DatabaseConflictError, InvalidInputError
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.types import Embedder, ImageMatch, TextReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

ALL = SearchOptions()  # nothing narrowed: the ten best
TOO_LONG = (
    "The text has {size:,} bytes{more}, and what the model would read of it goes on after the first "
    f"{MAX_TEXT_BYTES:,}, which is what is kept. Take blanks and signs out that say nothing."
)


def search_by_text(
    database: Database,
    make_embedder: Callable[[ModelKey], Embedder | None] | None,
    query: str,
    options: SearchOptions = ALL,
    *,
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
        options: What narrows the search.
        timeout_s: Seconds that a worker has to embed the text.
        max_cached_texts: Texts that the database keeps for a model; by default as many as it is set to.

    Raises:
        InvalidInputError: If the query is empty, or the model can't read it.
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model than the active one.
        WorkerUnavailableError: If a worker was to embed the text, and none did.
    """
    check_query(query)
    if make_embedder is None:
        return queries.find_by_text(database, query, options, timeout_s=timeout_s)
    for _ in range(MODEL_CHANGES):
        found = queries.find_by_cached_text(database, query, options)
        if found.matches is not None:
            return found.matches
        embedder = make_embedder(found.model)
        if embedder is None:
            return queries.find_by_text(database, query, options, timeout_s=timeout_s)
        embeddings, warnings = embed_texts(embedder, found.model, [query])
        try:
            return queries.find_by_embedded_text(
                database, query, embeddings[0], found.model, options, warning=warnings[0], max_rows=max_cached_texts
            )
        except DatabaseConflictError:  # the model was taken out meanwhile: search under the one that is active now
            continue
    raise DatabaseConflictError("The active model was changed again and again while the search ran. Try again.")


def search_by_image(
    database: Database,
    make_embedder: EmbedderFactory,
    image: Image.Image,
    options: SearchOptions = ALL,
) -> list[ImageMatch]:
    """Find the images that resemble a decoded RGB image, best first. Arguments and errors as for `search_by_text`."""
    model, embedding = embed_query(database, make_embedder, lambda embedder: embedder.embed_images([image]))
    return queries.find_nearest(database, embedding, options, model_id=model.model_id)


def is_vector(query: object) -> TypeGuard[NDArray[np.number[Any]] | Sequence[float]]:
    """Whether a query is a vector: numbers in a list or a tuple, or an array, and not an image, which gives one too."""
    return isinstance(query, list | tuple) or (hasattr(query, "__array__") and not hasattr(query, "getexif"))


def search_by_embedding(
    database: Database,
    embedding: NDArray[np.number[Any]] | Sequence[float],
    options: SearchOptions = ALL,
    *,
    model_id: int | None = None,
) -> list[ImageMatch]:
    """Find the images nearest to a (D,) vector of a model, of any norm, best first; by default of the active model.

    Raises:
        InvalidInputError: If the vector has not the model's dimension, is zero, or holds what isn't a finite number.
        NotFoundError: If no model is active yet, or there is no such model.
    """
    return queries.find_nearest(database, check_vector(embedding), options, model_id=model_id)


def similar_images(
    database: Database,
    image_id: int,
    options: SearchOptions = ALL,
) -> list[ImageMatch]:
    """Find the images most like an indexed one, best first, without that one.

    Raises:
        InvalidInputError: If `image_id` isn't a whole number.
        NotFoundError: If there is no such image, or it isn't embedded under the active model.
    """
    return queries.find_similar(database, check_image_id(image_id), options)


def embed_texts(
    embedder: Embedder, model: ModelKey, texts: Sequence[str]
) -> tuple[NDArray[np.float32], list[str | None]]:
    """Embed what the database keeps of some texts; returns (N, D) vectors, and what the model doesn't read of each.

    Raises:
        ConfigurationError: If the embedder is of another model.
        InvalidInputError: If the model can't read a text, or reads more of it than is kept.
    """
    check_same_revision(embedder.info, model)
    kept = [cut_text(text) for text in texts]
    if not isinstance(embedder, TextReader):
        return embedder.embed_texts(kept), [None] * len(kept)
    for text, cut in zip(texts, kept, strict=True):
        if cut != text and not embedder.is_settled(cut):
            raise InvalidInputError(TOO_LONG.format(size=len(text.encode()), more=""))
    return embedder.embed_texts(kept), [embedder.describe_truncation([text]) for text in kept]


def is_address(text: str) -> bool:
    """Whether a text is the http(s) address of an image, and not words."""
    return is_web_address(text.strip()) and len(text.split()) == 1
