"""The tables `siglip.ingestions` and `siglip.ingestion_images`: which images were queued together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.errors import NotFoundError
from siglip_ingest.types import ImageFailure, IngestCounts

SQL = load_statements("ingestions")

KEPT_DAYS = 30


class IngestionRow(NamedTuple):
    """An ingestion.

    Attributes:
        ingestion_id: Its key.
        model: Name of the model that its images are embedded with.
        collection: The set of images that they joined; None where they are in several.
        is_complete: Whether all of its images are queued.
        created_at: When it began.
    """

    ingestion_id: int
    model: str
    collection: str | None
    is_complete: bool
    created_at: datetime


class IngestionState(NamedTuple):
    """Whether an ingestion grows.

    Attributes:
        model_id: The model that its images are embedded with.
        is_complete: Whether all of its images are queued.
        since_growth_s: Seconds since it last grew.
    """

    model_id: int
    is_complete: bool
    since_growth_s: float


def create_ingestion(connection: Connection, model_id: int, collection: str | None) -> int:
    """Make an ingestion without images, and forget some that are older than `KEPT_DAYS`; returns its key."""
    connection.execute(SQL.delete_old_ingestions, {"days": KEPT_DAYS})
    row = connection.execute(SQL.create_ingestion, {"model_id": model_id, "collection": collection}).fetchone()
    assert row is not None  # noqa: S101  # RETURNING
    return int(row[0])


def add_images(connection: Connection, ingestion_id: int, image_ids: Sequence[int]) -> None:
    """Add images, in the order in which they were given."""
    connection.execute(SQL.add_images, {"ingestion_id": ingestion_id, "image_ids": list(image_ids)})
    connection.execute(SQL.note_growth, {"ingestion_id": ingestion_id, "is_complete": False})


def add_images_of_model(connection: Connection, ingestion_id: int) -> None:
    """Add all images that have an item under the ingestion's model, in its collection or in all, and complete it."""
    connection.execute(SQL.add_images_of_model, {"ingestion_id": ingestion_id})
    complete_ingestion(connection, ingestion_id)


def complete_ingestion(connection: Connection, ingestion_id: int) -> None:
    """Note that no further images come."""
    connection.execute(SQL.note_growth, {"ingestion_id": ingestion_id, "is_complete": True})


def join_ingestions(connection: Connection, ingestion_id: int, other_id: int) -> bool:
    """Move the images of another ingestion to the end of this one, which takes its place.

    Returns:
        Whether they were moved: not where the two are of different models or collections, or one is gone.
    """
    parameters = {"ingestion_id": ingestion_id, "other_id": other_id}
    if ingestion_id == other_id or connection.execute(SQL.hold_ingestion, parameters).fetchone() is None:
        return False
    connection.execute(SQL.move_images, parameters)
    connection.execute(SQL.delete_ingestion, {"ingestion_id": other_id})
    complete_ingestion(connection, ingestion_id)
    return True


def get_ingestion(connection: Connection, ingestion_id: int) -> IngestionState:
    """Whether an ingestion is complete.

    Raises:
        NotFoundError: If there is no such ingestion, or it is older than `KEPT_DAYS`.
    """
    row = connection.execute(SQL.get_ingestion, {"ingestion_id": ingestion_id}).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no ingestion {ingestion_id} in this database; they are kept for {KEPT_DAYS} days. "
            "`siglip-ingest ingestions` lists them."
        )
    return IngestionState(*row)


def count_items(connection: Connection, ingestion_id: int) -> IngestCounts:
    """How many of an ingestion's images are queued, claimed, done and failed."""
    return IngestCounts(**dict(connection.execute(SQL.count_items, {"ingestion_id": ingestion_id})))


def list_failures(connection: Connection, ingestion_id: int) -> list[ImageFailure]:
    """The images of an ingestion that failed, and why, in the order of their ids."""
    return [ImageFailure(*row) for row in connection.execute(SQL.list_failures, {"ingestion_id": ingestion_id})]


def list_image_ids(connection: Connection, ingestion_id: int) -> list[int]:
    """The images of an ingestion, in the order in which they were given; those included that were deleted since."""
    return [image_id for (image_id,) in connection.execute(SQL.list_image_ids, {"ingestion_id": ingestion_id})]


def list_ingestions(connection: Connection, limit: int) -> list[IngestionRow]:
    """The newest ingestions, the newest first."""
    parameters = {"limit": limit, "ingestion_id": None}
    return [IngestionRow(*row) for row in connection.execute(SQL.list_ingestions, parameters)]


def describe_ingestion(connection: Connection, ingestion_id: int) -> IngestionRow:
    """What is known of an ingestion.

    Raises:
        NotFoundError: If there is no such ingestion, or it is older than `KEPT_DAYS`.
    """
    get_ingestion(connection, ingestion_id)
    row = connection.execute(SQL.list_ingestions, {"limit": 1, "ingestion_id": ingestion_id}).fetchone()
    assert row is not None  # noqa: S101  # it was there just now, and an ingestion is kept for weeks
    return IngestionRow(*row)
