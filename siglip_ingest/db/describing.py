"""What there is: one image with all that is known of it, and the collections."""

from __future__ import annotations

from typing import Any, NamedTuple

from siglip_ingest.db import checks
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.errors import NotFoundError

SQL = load_statements("describing")


class ImageRecord(NamedTuple):
    """An image, and how far it is under a model.

    Attributes:
        image_id: Key in `siglip.images`.
        collection: The set of images that it is in.
        uri: Where it was indexed from; may hold a password or a signature.
        key: The caller's own key.
        metadata: What was given to `enqueue_images`.
        source_version: Tells a changed source from the same one; of a tar's member also where it lies.
        width: In pixels, upright; None before it was first decoded, like `height` and `format`.
        height: In pixels.
        format: What kind of file it is, such as JPEG.
        is_embedded: Whether it has a vector under the model, and is found by searches.
        state: `queued`, `claimed`, `done` or `failed`; None where nobody queued it under the model.
        error_message: Why it failed.
    """

    image_id: int
    collection: str
    uri: str
    key: str | None
    metadata: dict[str, Any]
    source_version: str | None
    width: int | None
    height: int | None
    format: str | None
    is_embedded: bool
    state: str | None
    error_message: str | None


class BestLabel(NamedTuple):
    """A label of a set, and an image's calibrated score for it, in [0, 1]; None where the model has no scores."""

    label_set: str
    label: str
    score: float | None


def get_image(connection: Connection, image_id: int, model_id: int | None) -> ImageRecord:
    """What is known of an image; its state is that under a model.

    Raises:
        NotFoundError: If there is no such image.
    """
    image_id = checks.check_image_id(image_id)
    row = connection.execute(SQL.get_image, {"image_id": image_id, "model_id": model_id}).fetchone()
    if row is None:
        raise NotFoundError(f"There is no image {image_id}. Searches give the ids of those that exist.")
    return ImageRecord(*row)


def list_best_labels(connection: Connection, image_id: int, limit: int) -> list[BestLabel]:
    """The labels of all sets for which an image has the highest scores under the active model, best first."""
    parameters = {"image_id": image_id, "max_results": limit}
    return [BestLabel(*row) for row in connection.execute(SQL.list_best_labels, parameters)]


def count_collections(connection: Connection, limit: int) -> list[tuple[str, int]]:
    """The largest collections with their numbers of images; reads an entry of an index for each image."""
    return [(name, int(count)) for name, count in connection.execute(SQL.count_collections, {"max_results": limit})]


def has_collection(connection: Connection, collection: str) -> bool:
    """Whether a collection has images."""
    return connection.execute(SQL.has_collection, {"collection": collection}).fetchone() == (True,)


def list_collection_names(connection: Connection, limit: int) -> list[str]:
    """The first collections by name; quick however many images there are."""
    return [name for (name,) in connection.execute(SQL.list_collection_names, {"max_results": limit})]
