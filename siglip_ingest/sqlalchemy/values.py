"""The functions of the schema `siglip` that give a value, or change something: SQLAlchemy selects them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Double
from sqlalchemy.sql.functions import Function

from siglip_ingest.sqlalchemy.arguments import Argument, Filter, Ids, call, filter_argument, ids_argument
from siglip_ingest.sqlalchemy.vectors import HalfVec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def embed_text(
    query: Argument[str], *, model_id: Argument[int] | None = None, timeout_s: Argument[float] | None = None
) -> Function[NDArray[np.float32]]:
    """A text's unit vector, from the cache or from a worker, which the statement waits for."""
    return call("embed_text", HalfVec(), query=query, model_id=model_id, timeout_s=timeout_s)


def score(similarity: Argument[float], *, model_id: Argument[int] | None = None) -> Function[float]:
    """A model's score of a similarity, in [0, 1]; by default the active model's."""
    return call("score", Double(), similarity=similarity, model_id=model_id)


def count_images(
    *,
    image_ids: Ids | None = None,
    uris: Iterable[str] | None = None,
    keys: Iterable[str] | None = None,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002
) -> Function[int]:
    """How many images there are to which all that is given applies."""
    return call("count_images", BigInteger(), **_selection(image_ids, uris, keys, collection, filter))


def delete_images(
    *,
    image_ids: Ids | None = None,
    uris: Iterable[str] | None = None,
    keys: Iterable[str] | None = None,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002
    max_images: Argument[int] | None = None,
) -> Function[int]:
    """Delete the images to which all that is given applies, at most `max_images`; the value is how many those were."""
    selection = _selection(image_ids, uris, keys, collection, filter)
    return call("delete_images", BigInteger(), **selection, max_images=max_images)


def enqueue_images(
    uris: Iterable[str],
    *,
    collection: Argument[str] | None = None,
    keys: Iterable[str | None] | None = None,
    metadata: Filter | None = None,
    each_metadata: Iterable[Mapping[str, Any] | None] | None = None,
) -> Function[int]:
    """Queue images by their addresses, in the transaction of the session; workers see them once it is committed.

    Args:
        uris: Complete addresses: `https://...`, `file:///...`, `s3://...`.
        collection: The collection that they join; by default `default`.
        keys: Your own keys, one for each address.
        metadata: What is added to the metadata of all.
        each_metadata: What is added to the metadata of each, one for each address.

    Returns:
        A row for each address, in their order: `session.scalars(select(enqueue_images([...]))).all()` are their ids.
    """
    return call(
        "enqueue_images",
        BigInteger(),
        uris=list(uris),
        collection=collection,
        keys=None if keys is None else list(keys),
        metadata=filter_argument(metadata),
        each_metadata=None if each_metadata is None else [each and dict(each) for each in each_metadata],
    )


def _selection(
    image_ids: Ids | None,
    uris: Iterable[str] | None,
    keys: Iterable[str] | None,
    collection: Argument[str] | None,
    filter: Filter | None,  # noqa: A002
) -> dict[str, Any]:
    return {
        "image_ids": ids_argument(image_ids),
        "uris": None if uris is None else list(uris),
        "keys": None if keys is None else list(keys),
        "collection": collection,
        "filter": filter_argument(filter),
    }
