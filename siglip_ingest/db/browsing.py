"""Looking at what is stored: images with their files and ledger, collections, metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.types.json import Jsonb

from siglip_ingest.db import checks
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import unpack_embeddings
from siglip_ingest.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("browsing")

STATES = ("queued", "claimed", "done", "failed")


class CollectionSize(NamedTuple):
    """A collection and how many images it has."""

    collection: str
    images: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as the database has it.

    Attributes:
        image_id: Key in `siglip.images`.
        uri: Where it was indexed from; may hold a password or a signature: `sources.hide_secrets` takes them out.
        collection: The set of images that it is in.
        key: The caller's own key, if there is one.
        metadata: What was given to `enqueue_images`.
        width: Pixels; None before it is embedded.
        height: Pixels; None before it is embedded.
        format: Of its file, such as `JPEG`; None before it is embedded.
        created_at: When it was added.
        source_version: Tells its source from a changed one; None where nothing does.
        content_id: Key in `siglip.contents` of what was embedded last; None before it is embedded.
        is_embedded: Whether it has a vector under the active model, and is found by searches.
        state: Under the active model `queued`, `claimed`, `done` or `failed`; None where it isn't queued for it.
        error_code: Why it failed, in a word.
        error_message: Why it failed, a sentence.
    """

    image_id: int
    uri: str
    collection: str
    key: str | None
    metadata: dict[str, Any]
    width: int | None
    height: int | None
    format: str | None
    created_at: datetime
    source_version: str | None
    content_id: int | None
    is_embedded: bool
    state: str | None
    error_code: str | None
    error_message: str | None


class ImageLocation(NamedTuple):
    """Where the bytes of an image are.

    Attributes:
        uri: Where it was indexed from.
        source_version: As in `siglip.images`.
        is_stored: Whether the database holds its bytes.
    """

    uri: str
    source_version: str | None
    is_stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which images are listed: those that all conditions fit; None is no condition.

    Attributes:
        collection: The set of images that they are in.
        filter: What their metadata contain.
        image_ids: Only these.
        state: Only those in this state under the active model: `queued`, `claimed`, `done` or `failed`.
        exclude_failed: Without those that failed under the active model.

    Raises:
        InvalidInputError: If one is of the wrong kind.
    """

    collection: str | None = None
    filter: Mapping[str, Any] | None = None
    image_ids: Sequence[int] | None = None
    state: str | None = None
    exclude_failed: bool = False

    def __post_init__(self) -> None:
        if self.collection is not None:
            checks.check_name(self.collection, "A collection")
        checks.check_mapping(self.filter, "filter")
        object.__setattr__(self, "image_ids", checks.check_image_ids(self.image_ids))
        if self.state is not None and self.state not in STATES:
            raise InvalidInputError(f"state must be one of {', '.join(STATES)}; not {self.state!r}.")

    def to_parameters(self) -> dict[str, Any]:
        """The parameters of the statements in browsing.sql."""
        return {
            "collection": self.collection,
            "filter": None if self.filter is None else Jsonb(dict(self.filter)),
            "image_ids": self.image_ids,
            "state": self.state,
            "exclude_failed": self.exclude_failed,
        }


def list_collections(database: Database) -> list[CollectionSize]:
    """The collections, by name."""
    return [CollectionSize(*row) for row in database.fetch(SQL.list_collections)]


def describe_images(database: Database, image_ids: Sequence[int]) -> list[StoredImage]:
    """What the database knows of images, in the order of their ids; those that it doesn't have are left out."""
    return [StoredImage(*row) for row in database.fetch(SQL.describe_images, {"image_ids": list(image_ids)})]


def list_image_ids(database: Database, listing: Listing, *, limit: int, after_id: int | None = None) -> list[int]:
    """Ids of up to `limit` images, the last added first, behind `after_id`."""
    parameters = {**listing.to_parameters(), "limit": limit, "after_id": after_id}
    return [image_id for (image_id,) in database.fetch(SQL.list_image_ids, parameters)]


def count_images(database: Database, listing: Listing) -> int:
    """How many images a listing has."""
    ((count,),) = database.fetch(SQL.count_listed_images, listing.to_parameters())
    return int(count)


def date_images(database: Database, image_ids: Sequence[int]) -> dict[int, str]:
    """When images were taken, or else added: ISO 8601 by `image_id`, to be compared as text."""
    return dict(database.fetch(SQL.date_images, {"image_ids": list(image_ids)}))


def get_vectors(database: Database, image_ids: Sequence[int]) -> tuple[list[int], NDArray[np.float32]]:
    """The vectors of images under the active model.

    Returns:
        N image ids, in any order, without those that aren't embedded; and (N, D) float32 unit vectors.
    """
    import numpy as np

    rows = database.fetch(SQL.get_vectors, {"image_ids": list(image_ids)})
    if not rows:
        return [], np.empty((0, 0), np.float32)
    return [image_id for image_id, _ in rows], unpack_embeddings([packed for _, packed in rows]).astype(np.float32)


def change_metadata(database: Database, image_ids: Sequence[int], changes: Mapping[str, Any]) -> int:
    """Set keys of images' metadata, and take out those whose value is None; returns how many images changed.

    Raises:
        InvalidInputError: If the changes can't be stored.
    """
    checks.check_mapping(changes, "metadata")
    parameters = {
        "image_ids": list(image_ids),
        "metadata": Jsonb({key: value for key, value in changes.items() if value is not None}),
        "removed": [key for key, value in changes.items() if value is None],
    }
    return database.transact(lambda connection: connection.execute(SQL.change_metadata, parameters).rowcount)


def find_source(database: Database, image_id: int) -> ImageLocation:
    """Where the bytes of an image are.

    Raises:
        NotFoundError: If there is no such image.
    """
    rows = database.fetch(SQL.find_source, {"image_id": image_id})
    if not rows:
        raise NotFoundError(f"There is no image {image_id}.")
    return ImageLocation(*rows[0])


def has_collection(connection: Connection, collection: str) -> bool:
    """Whether a collection has images."""
    return connection.execute(SQL.has_collection, {"collection": collection}).fetchone() == (True,)


def list_collection_names(connection: Connection, limit: int) -> list[str]:
    """The first collections by name; quick however many images there are."""
    return [name for (name,) in connection.execute(SQL.list_collection_names, {"max_results": limit})]
