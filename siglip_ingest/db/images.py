"""The tables `siglip.images` and `siglip.image_bytes`: the images that were given to us, and where they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

from siglip_ingest.db import checks
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.items import notify_workers
from siglip_ingest.errors import ImageError, InvalidInputError, NotFoundError

SQL = load_statements("images")

DELETED_AT_ONCE = 5000


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
        reads_exif: Whether the worker that embeds it puts what EXIF says of it into the metadata; once asked for, it
            stays so.
    """

    collection: str
    uri: str
    key: str | None = None
    source_version: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    reads_exif: bool = False


class QueuedImages(NamedTuple):
    """What was stored.

    Attributes:
        image_ids: The `image_id` of each row, in the order of the rows.
        queued: How many items were queued: none for what is done and unchanged.
    """

    image_ids: list[int]
    queued: int


def insert_images(connection: Connection, rows: Sequence[ImageRow], *model_ids: int) -> QueuedImages:
    """Store images and queue them under one or more models, by COPY: tens of thousands in a second.

    An image that is there already is queued again if its `source_version` changed (then under every model that had it)
    or if it had failed. Everything that is done and unchanged stays as it is. Of a URI that is given twice the last
    row counts.

    Args:
        connection: In or out of a transaction; all happens in one.
        rows: What to store.
        model_ids: The models to queue them for.
    """
    with connection.transaction():
        connection.execute(SQL.create_new_images)
        connection.execute(SQL.empty_new_images)
        with connection.cursor().copy(SQL.copy_new_images) as copy:
            for position, row in enumerate(rows):
                metadata = Jsonb(dict(row.metadata))
                where = (position, row.collection, row.uri, row.key, row.source_version)
                copy.write_row((*where, metadata, row.content, row.reads_exif))
        connection.execute(SQL.mark_changed_images)
        connection.execute(SQL.upsert_images)
        connection.execute(SQL.lock_new_items)
        connection.execute(SQL.upsert_image_bytes)
        queued = connection.execute(SQL.requeue_changed_images).rowcount
        image_ids: list[int] = []
        for model_id in model_ids:
            stored = connection.execute(SQL.queue_new_images, {"model_id": model_id}).fetchall()
            image_ids = [image_id for image_id, _ in stored]
            queued += stored[0][1] if stored else 0
            notify_workers(connection, model_id)
    return QueuedImages(image_ids, queued)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which images: those that all conditions fit. None of a condition is no condition.

    Attributes:
        image_ids: Their ids.
        uris: Where they are.
        keys: The caller's own keys.
        collection: The set of images that they are in.
        filter: What their metadata contain.

    Raises:
        InvalidInputError: If there is no condition at all, or one is of the wrong kind.
    """

    image_ids: Sequence[int] | None = None
    uris: Sequence[str] | None = None
    keys: Sequence[str | int] | None = None
    collection: str | None = None
    filter: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        conditions = (self.image_ids, self.uris, self.keys, self.collection, self.filter)
        if all(value is None for value in conditions):
            raise InvalidInputError("Nothing says which images. Give image_ids, uris, keys, collection or filter.")
        object.__setattr__(self, "image_ids", checks.check_image_ids(self.image_ids))
        for name in ("uris", "keys"):
            values = getattr(self, name)
            if isinstance(values, str | bytes) or not (values is None or isinstance(values, Iterable)):
                raise InvalidInputError(f"{name} are a sequence, not {type(values).__name__}.")
        if self.uris is not None:
            object.__setattr__(self, "uris", [_check_uri(uri) for uri in self.uris])
        if self.keys is not None:
            object.__setattr__(self, "keys", [key for key in map(checks.check_key, self.keys) if key is not None])
        if self.collection is not None:
            checks.check_name(self.collection, "A collection")
        checks.check_mapping(self.filter, "filter")

    def to_parameters(self) -> dict[str, Any]:
        """The parameters of the statements in images.sql."""
        return {
            "image_ids": self.image_ids,
            "uris": self.uris,
            "keys": self.keys,
            "collection": self.collection,
            "filter": None if self.filter is None else Jsonb(dict(self.filter)),
        }


class StoredSource(NamedTuple):
    """Where an image is, and what is known of it.

    Attributes:
        image_id: Its id.
        uri: Where it is.
        source_version: Tells a changed source from the same one.
        content_hash: SHA-256 of what was embedded last; None before the first time.
    """

    image_id: int
    uri: str
    source_version: str | None
    content_hash: bytes | None


class ImageOrigin(NamedTuple):
    """Where the bytes of an image are.

    Attributes:
        uri: Where it is.
        source_version: Of a tar's member also where it lies.
        has_content: Whether the database has the bytes, and the URI leads nowhere.
    """

    uri: str
    source_version: str | None
    has_content: bool


def get_origin(connection: Connection, image_id: int) -> ImageOrigin:
    """Where the bytes of an image are.

    Raises:
        NotFoundError: If there is no such image.
    """
    row = connection.execute(SQL.get_origin, {"image_id": image_id}).fetchone()
    if row is None:
        raise NotFoundError(f"There is no image {image_id}.")
    return ImageOrigin(*row)


def get_source_versions(connection: Connection, image_ids: Sequence[int]) -> dict[int, str | None]:
    """What tells each of some images from a changed one, by `image_id`; of a tar's member also where it lies."""
    return dict(connection.execute(SQL.get_source_versions, {"image_ids": list(image_ids)}).fetchall())


def count_images(connection: Connection, selection: Selection) -> int:
    """How many images a selection has."""
    row = connection.execute(SQL.count_images, selection.to_parameters()).fetchone()
    return int(row[0]) if row else 0


def delete_images(database: Database, selection: Selection) -> int:
    """Delete images with all that was made of them, some thousand in a transaction; returns how many.

    Killed in the middle, it has deleted a part of them; started again, it goes on.
    """
    parameters = {**selection.to_parameters(), "max_images": DELETED_AT_ONCE}
    deleted = 0
    while True:
        count: int = database.transact(lambda connection: _delete(connection, parameters))
        deleted += count
        if count == 0:
            return deleted


def _delete(connection: Connection, parameters: Mapping[str, Any]) -> int:
    row = connection.execute(SQL.delete_images, parameters).fetchone()
    return int(row[0]) if row else 0


def list_sources(connection: Connection, collection: str | None = None) -> list[StoredSource]:
    """Where the images of a collection, or all images, are; in the order of their ids."""
    return [StoredSource(*row) for row in connection.execute(SQL.list_sources, {"collection": collection})]


def move_images(connection: Connection, moved: Sequence[tuple[int, str, str]]) -> int:
    """Give one or more images new places: (image_id, uri, source_version) each. Vectors stay. Returns how many."""
    image_ids, uris, versions = map(list, zip(*moved, strict=True))
    parameters = {"image_ids": image_ids, "uris": uris, "source_versions": versions}
    return connection.execute(SQL.move_images, parameters).rowcount


def _check_uri(uri: object) -> str:
    if not isinstance(uri, str):
        raise InvalidInputError(f"A URI is text, not {type(uri).__name__}.")
    checks.check_storable(uri, "A URI")
    return uri
