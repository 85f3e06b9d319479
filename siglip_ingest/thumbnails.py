"""Small versions of images."""

from __future__ import annotations

import hashlib
import io

from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.siglip.preprocess.decode import hold_decoded_image
from siglip_ingest.siglip.preprocess.opening import ImageLimits

SIZES = (160, 320, 640, 1280)  # longer side, pixels
QUALITY = 80
MEDIA_TYPE = "image/webp"


def make_thumbnail(content: bytes, size: int, limits: ImageLimits, budget: PixelBudget | None = None) -> bytes:
    """Make a WebP of the whole image, upright, without metadata; a small image stays as large as it is.

    Args:
        content: Of an image file.
        size: Most pixels on the longer side.
        limits: Larger images are refused.
        budget: Bounds the pixels that are decoded at a time by all who share it.

    Raises:
        ImageError: If the content isn't an image, or one too large.
    """

    def choose_size(height: int, width: int) -> tuple[int, int]:
        scale = min(1.0, size / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    buffer = io.BytesIO()
    with hold_decoded_image(
        content, max_image_pixels=limits.max_image_pixels, budget=budget, choose_size=choose_size
    ) as decoded:
        # Of the file's size, and not of the one that it was decoded at, which is rounded.
        height, width = choose_size(decoded.height, decoded.width)
        image = decoded.image.resize((width, height), reducing_gap=2.0)
        image.save(buffer, "WEBP", quality=QUALITY, method=2)
    return buffer.getvalue()


def thumbnail_name(source: str, size: int) -> str:
    """The name under which a thumbnail is kept.

    Args:
        source: Tells an image, and its version, from every other.
        size: Longer side in pixels.
    """
    return hashlib.sha256(f"{size} {QUALITY} {source}".encode()).hexdigest()
