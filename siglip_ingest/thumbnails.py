"""Small versions of images."""

from __future__ import annotations

import hashlib
import io

from siglip_ingest.siglip.preprocess.opening import ImageLimits, open_image

SIZES = (160, 320, 640, 1280)  # longer side, pixels
QUALITY = 80
MEDIA_TYPE = "image/webp"


def make_thumbnail(content: bytes, size: int, limits: ImageLimits) -> bytes:
    """Make a WebP of at most `size` pixels on the longer side, upright, without metadata.

    Raises:
        ImageError: If the content isn't an image, or one too large.
    """
    image = open_image(content, limits)
    image.thumbnail((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def thumbnail_name(source: str, size: int) -> str:
    """The name under which a thumbnail is kept.

    Args:
        source: Tells an image, and its version, from every other.
        size: Longer side in pixels.
    """
    return hashlib.sha256(f"{size} {QUALITY} {source}".encode()).hexdigest()
