"""The tables `siglip.images` and `siglip.image_bytes`: the images that were given to us, and where they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg.types.json import Jsonb

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.items import notify_workers
from siglip_ingest.errors import ImageError, NotFoundError

SQL = load_statements("images")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRow:
    """An image to be stored.

    Attributes:
        collection: The set of images that it joins.
        uri: Where it is, unique in its collection; `sha256:<hex>` for one that is given as bytes.
        key: The caller's own key, if there is one.
        source_version: Tells a changed source from the same one; any text.
        metadata: A JSON object; merged into what is stored for that URI already.
        content: The bytes of the image file, where the URI leads nowhere.
    """

    collection: str
    uri: str
    key: str | None = None
    source_version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None


def insert_images(connection: Connection, rows: Sequence[ImageRow], model_id: int) -> list[int]:
    """Store images and queue them under a model, by COPY: tens of thousands in a second.

    An image that is there already is queued again if its `source_version` changed (then under every model that had it)
    or if it had failed. Everything that is done and unchanged stays as it is. Of a URI that is given twice the last
    row counts.

    Args:
        connection: In or out of a transaction; all happens in one.
        rows: What to store.
        model_id: The model to queue them for.

    Returns:
        The `image_id` of each row, in the order of the rows.
    """
    with connection.transaction():
        connection.execute(SQL.create_new_images)
        connection.execute(SQL.empty_new_images)
        with connection.cursor().copy(SQL.copy_new_images) as copy:
            for position, row in enumerate(rows):
                metadata = Jsonb(dict(row.metadata))
                copy.write_row((position, row.collection, row.uri, row.key, row.source_version, metadata, row.content))
        connection.execute(SQL.mark_changed_images)
        connection.execute(SQL.upsert_images)
        connection.execute(SQL.lock_new_items)
        connection.execute(SQL.upsert_image_bytes)
        connection.execute(SQL.requeue_changed_images)
        connection.execute(SQL.queue_new_images, {"model_id": model_id})
        image_ids = [image_id for (image_id,) in connection.execute(SQL.get_new_image_ids)]
        notify_workers(connection, model_id)
    return image_ids


def load_content(connection: Connection, image_id: int, *, max_image_bytes: int) -> bytes:
    """The bytes of an image that was given as bytes. More than `max_image_bytes` don't leave the server.

    Raises:
        NotFoundError: If there is no such image, or it was given as an address.
        ImageError: With code `too_large`.
    """
    parameters = {"image_id": image_id, "max_image_bytes": max_image_bytes}
    row = connection.execute(SQL.get_content, parameters).fetchone()
    if row is None:
        raise NotFoundError(f"The database doesn't hold the bytes of an image {image_id}.")
    size, content = row
    if content is None:
        message = f"The image has {size:,} bytes; at most {max_image_bytes:,} are accepted (SIGLIP_MAX_IMAGE_BYTES)."
        raise ImageError(message, code="too_large")
    return bytes(content)
