"""Pictures of the kinds that go wrong, as the bytes of their files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

ORIENTATION_TAG = 0x0112


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    """Draw smooth colours with some noise: every corner differs from the others."""
    rows, columns = np.mgrid[0:height, 0:width] / max(width, height)
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    colors = np.stack([200 * rows, 200 * columns, 100 + 100 * np.sin(9 * (rows + columns + seed))], axis=-1)
    return Image.fromarray((colors + noise).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def rotated(orientation: int, image_format: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return encode(picture(60, 40), image_format, exif=exif)


def palette_with_transparency(*, is_per_color: bool) -> bytes:
    image = picture(60, 40).quantize(16)
    transparency = bytes(range(0, 256, 16)) if is_per_color else 3
    return encode(image, "PNG", transparency=transparency)


def animated(image_format: str) -> bytes:
    frames = [picture(60, 40, seed) for seed in range(3)]
    return encode(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100)


def png_header_of(width: int, height: int) -> bytes:
    """Make a PNG that says it is of that size; a few hundred bytes that would decode to gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def with_alpha() -> Image.Image:
    image = picture(60, 40).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((60, 40)))
    return image


FILES: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: encode(picture(60, 40), "JPEG"),
    "progressive.jpg": lambda: encode(picture(60, 40), "JPEG", progressive=True),
    "plain.png": lambda: encode(picture(60, 40), "PNG"),
    "plain.webp": lambda: encode(picture(60, 40), "WEBP"),
    "plain.bmp": lambda: encode(picture(60, 40), "BMP"),
    "plain.tiff": lambda: encode(picture(60, 40), "TIFF"),
    "plain.jp2": lambda: encode(picture(60, 40), "JPEG2000"),
    "plain.ppm": lambda: encode(picture(60, 40), "PPM"),
    "gray.jpg": lambda: encode(picture(60, 40).convert("L"), "JPEG"),
    "gray_with_alpha.png": lambda: encode(with_alpha().convert("LA"), "PNG"),
    "one_bit.png": lambda: encode(picture(60, 40).convert("1"), "PNG"),
    "cmyk.jpg": lambda: encode(picture(60, 40).convert("CMYK"), "JPEG"),
    "cmyk.tiff": lambda: encode(picture(60, 40).convert("CMYK"), "TIFF"),
    "ycbcr.tiff": lambda: encode(picture(60, 40).convert("YCbCr"), "TIFF"),
    "alpha.png": lambda: encode(with_alpha(), "PNG"),
    "alpha.webp": lambda: encode(with_alpha(), "WEBP"),
    "palette.png": lambda: encode(picture(60, 40).quantize(16), "PNG"),
    "palette_with_one_transparent_color.png": lambda: palette_with_transparency(is_per_color=False),
    "palette_with_transparency.png": lambda: palette_with_transparency(is_per_color=True),
    "animated.gif": lambda: animated("GIF"),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
    "pages.tiff": lambda: animated("TIFF"),
    "one_pixel.png": lambda: encode(picture(1, 1), "PNG"),
    "one_column.png": lambda: encode(picture(1, 5000), "PNG"),
    **{f"orientation_{value}.jpg": lambda value=value: rotated(value) for value in range(1, 9)},
    "orientation_6.png": lambda: rotated(6, "PNG"),
    "orientation_6.webp": lambda: rotated(6, "WEBP"),
    "orientation_6.tiff": lambda: rotated(6, "TIFF"),
}
