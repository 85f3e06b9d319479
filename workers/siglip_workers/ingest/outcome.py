"""The outcome of a chunk, item by item, and writing it to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import Database, items
from siglip_ingest.errors import ImageError

RETRY_PAUSE_S = 5.0  # before the second attempt
RETRY_FACTOR = 6.0  # the third attempt waits so many times longer


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """A decoded image, ready for the device.

    Attributes:
        item: Its ledger item.
        content_hash: SHA-256 of the file, 32 bytes.
        width: Of the image itself, in pixels.
        height: Of the image itself, in pixels.
        format: As Pillow names it, for instance `JPEG`.
        pixels: (H, W, 3) uint8 of the size that the model takes, RGB; under NaFlex it differs by image.
        metadata: What EXIF says of it, where that was asked for.
    """

    item: items.ItemRow
    content_hash: bytes
    width: int
    height: int
    format: str
    pixels: NDArray[np.uint8]
    metadata: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a chunk's items.

    Attributes:
        claimed: All items of the chunk.
        prepared: Images that could be decoded.
        embeddings: Unit vectors by content hash; None where the database has that vector already.
        rejected: Contents that the model failed on, and why.
        unprepared: Items that could not be fetched or decoded, and why.
    """

    claimed: Sequence[items.ItemRow]
    prepared: list[PreparedImage] = field(default_factory=list)
    embeddings: dict[bytes, NDArray[np.float32] | None] = field(default_factory=dict)
    rejected: dict[bytes, ImageError] = field(default_factory=dict)
    unprepared: list[tuple[items.ItemRow, ImageError]] = field(default_factory=list)

    @property
    def embedded(self) -> list[items.CompletedItem]:
        """The rows of the items that are done."""
        return [
            items.CompletedItem(
                item_id=image.item.item_id,
                image_id=image.item.image_id,
                content_hash=image.content_hash,
                width=image.width,
                height=image.height,
                format=image.format,
                embedding=self.embeddings[image.content_hash],
                metadata=image.metadata,
            )
            for image in self.prepared
            if image.content_hash in self.embeddings
        ]

    @property
    def failures(self) -> list[tuple[items.ItemRow, ImageError]]:
        """Items that can't be embedded now, or ever."""
        rejected = [
            (image.item, self.rejected[image.content_hash])
            for image in self.prepared
            if image.content_hash in self.rejected
        ]
        return self.unprepared + rejected


def write_outcome(
    database: Database, model_id: int, lease_token: UUID, outcome: Outcome, max_attempts: int
) -> items.Closed:
    """Write vectors, close the items that are done or failed, and hand the others back: all in one transaction.

    Items that are no longer claimed under `lease_token` are left as they are.
    """
    failed = [_describe_failure(item, error) for item, error in outcome.failures]
    with database.connection() as connection:
        return items.close_items(connection, model_id, lease_token, outcome.embedded, failed, max_attempts=max_attempts)


def _describe_failure(item: items.ItemRow, error: ImageError) -> items.FailedItem:
    pause_s = RETRY_PAUSE_S * RETRY_FACTOR ** max(0, item.attempts - 1)
    return items.FailedItem(item.item_id, error.code, str(error), pause_s if error.is_retryable else None)
