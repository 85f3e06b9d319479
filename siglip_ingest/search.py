"""Searching by text, by picture, or by an image that is indexed, under the database's active model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from siglip_ingest.checks import check_image_id, check_options, check_query
from siglip_ingest.db import Database, texts
from siglip_ingest.db import search as queries
from siglip_ingest.db.query import described_model, embed_query
from siglip_ingest.types import Embedder, ImageMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


def search_by_text(
    database: Database,
    make_embedder: Callable[[], Embedder],
    query: str,
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002  # the word that users of vector databases look for
    min_score: float | None = None,
) -> list[ImageMatch]:
    """Find the images that fit a text best, best first.

    Args:
        database: Where the images are.
        make_embedder: Called only if the text's vector isn't in the database yet; it is stored there then.
        query: What the images show.
        limit: Most matches to return, 1 to 10,000.
        collection: Search only this collection.
        filter: Only images whose metadata contain these keys and values.
        min_score: Only matches whose score, in [0, 1], is at least this.

    Raises:
        InvalidInputError: If an argument is out of its range, or the query is empty.
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model than the active one.
    """
    check_query(query)
    limit, min_score = check_options(limit, collection, filter, min_score)
    with database.connection() as connection:
        model, _ = described_model(connection)
        embedding = texts.find_text(connection, model.model_id, query)
    if embedding is None:
        embedding = embed_query(database, make_embedder, lambda embedder: embedder.embed_texts([query]))
        with database.connection() as connection:
            if texts.can_insert_texts(connection):
                texts.insert_text(connection, model.model_id, query, embedding)
    return search_by_embedding(
        database, embedding, limit=limit, collection=collection, filter=filter, min_score=min_score
    )


def search_by_image(
    database: Database,
    make_embedder: Callable[[], Embedder],
    image: Image.Image,
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    min_score: float | None = None,
) -> list[ImageMatch]:
    """Find the images that resemble a decoded RGB picture, best first. Arguments and errors as for `search_by_text`."""
    limit, min_score = check_options(limit, collection, filter, min_score)
    embedding = embed_query(database, make_embedder, lambda embedder: embedder.embed_images([image]))
    return search_by_embedding(
        database, embedding, limit=limit, collection=collection, filter=filter, min_score=min_score
    )


def search_by_embedding(
    database: Database,
    embedding: NDArray[np.float32],
    *,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
    min_score: float | None = None,
) -> list[ImageMatch]:
    """Find the images nearest to a (D,) float32 vector of the active model, best first.

    Raises:
        InvalidInputError: If an argument is out of its range, or the vector has not the model's dimension.
        NotFoundError: If no model is active yet.
    """
    limit, min_score = check_options(limit, collection, filter, min_score)
    with database.connection() as connection:
        return queries.find_nearest(
            connection, embedding, limit=limit, collection=collection, filter=filter, min_score=min_score
        )


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
    limit, min_score = check_options(limit, collection, filter, min_score)
    image_id = check_image_id(image_id)
    with database.connection() as connection:
        return queries.find_similar(
            connection, image_id, limit=limit, collection=collection, filter=filter, min_score=min_score
        )
