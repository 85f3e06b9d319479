"""Reads indexed images and makes them small, for models to look at."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from mcp_types import ContentBlock, ImageContent, TextContent

from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import ConfigurationError, ImageError
from siglip_ingest.siglip.preprocess.opening import open_image

THUMBNAIL_PIXELS = 256
MAX_THUMBNAILS = 12
_READERS = 4


def make_thumbnail(client: SiglipClient, image_id: int) -> bytes:
    """A JPEG file of an indexed image, at most `THUMBNAIL_PIXELS` wide and high.

    Raises:
        NotFoundError: If there is no such image.
        ImageError: If it can't be read any more, or the settings refuse it.
    """
    image = open_image(_read(client, image_id), client.settings.image_limits)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def show_thumbnails(client: SiglipClient, image_ids: Sequence[int]) -> list[ContentBlock]:
    """The thumbnails of some images, the first `MAX_THUMBNAILS` of them, each after a text that says which it is."""
    shown = image_ids[:MAX_THUMBNAILS]
    with ThreadPoolExecutor(_READERS) as readers:
        blocks = list(readers.map(lambda image_id: _show(client, image_id), shown))
    return [block for pair in blocks for block in pair]


def _show(client: SiglipClient, image_id: int) -> list[ContentBlock]:
    try:
        content = make_thumbnail(client, image_id)
    except ImageError as error:
        return [TextContent(type="text", text=f"image {image_id} can't be shown: {error}")]
    data = base64.b64encode(content).decode()
    return [
        TextContent(type="text", text=f"image {image_id}:"),
        ImageContent(type="image", data=data, mime_type="image/jpeg"),
    ]


def _read(client: SiglipClient, image_id: int) -> bytes:
    try:
        return client.read_image(image_id)
    except ConfigurationError as error:  # an address on the web, and no HTTP library
        raise ImageError(str(error), code="unsupported_source") from error
