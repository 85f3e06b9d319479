"""What goes through the stream: from a claimed item to what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import items
from siglip_ingest.errors import ImageError


class Work(NamedTuple):
    """A claimed item.

    Attributes:
        item: The image to embed.
        lease_token: The claim's, under which alone the item may be closed.
        metadata: What EXIF says of the image, where that was asked for.
    """

    item: items.ItemRow
    lease_token: UUID
    metadata: Mapping[str, Any] | None = None


class FetchedImage(NamedTuple):
    """The bytes of an image file, and their SHA-256, 32 bytes."""

    work: Work
    content: bytes
    content_hash: bytes


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage:
    """A decoded image, ready for the device.

    Attributes:
        content_hash: SHA-256 of the file, 32 bytes.
        size: Width and height of the image itself in pixels, and its format as Pillow names it, for instance `JPEG`.
        pixels: (H, W, 3) uint8 of the size that the model takes, RGB; under NaFlex it differs by image.
    """

    content_hash: bytes
    size: tuple[int, int, str]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """That a content has its vector.

    Attributes:
        size: Width and height of the image in pixels, and its format; None where the database has all of it already.
        embedding: (D,) float32 unit vector; None where the database has it already.
    """

    size: tuple[int, int, str] | None = None
    embedding: NDArray[np.float32] | None = None


class Finished(NamedTuple):
    """An item, its content where that is known, and what became of it: why it can't be embedded now, or ever."""

    work: Work
    content_hash: bytes | None
    result: Embedded | ImageError
