"""Images of the kinds that go wrong, as the bytes of their files."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms

ORIENTATION_TAG = 0x0112


def make_image(width: int, height: int, seed: int = 0) -> Image.Image:
    """Draw smooth colours with some noise: every corner differs from the others."""
    rows, columns = np.mgrid[0:height, 0:width] / max(width, height)
    noise = np.random.default_rng(seed).integers(0, 40, (height, width, 3))
    colors = np.stack([200 * rows, 200 * columns, 100 + 100 * np.sin(9 * (rows + columns + seed))], axis=-1)
    return Image.fromarray((colors + noise).clip(0, 255).astype(np.uint8))


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return exif


def rotated(orientation: int, image_format: str = "JPEG") -> bytes:
    return encode(make_image(60, 40), image_format, exif=exif_of(orientation))


def heic(image: Image.Image, orientation: int = 1) -> bytes:
    """Encode as phones do: the pixels as they came from the sensor, and how to turn them."""
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, exif=exif_of(orientation).tobytes())
    return buffer.getvalue()


def palette_with_transparency(*, is_per_color: bool) -> bytes:
    image = make_image(60, 40).quantize(16)
    transparency = bytes(range(0, 256, 16)) if is_per_color else 3
    return encode(image, "PNG", transparency=transparency)


def animated(image_format: str, **options: Any) -> bytes:
    frames = [make_image(60, 40, seed) for seed in range(3)]
    return encode(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100, **options)


def png_header_of(width: int, height: int) -> bytes:
    """Make a PNG that says it is of that size; a few hundred bytes that would decode to gigabytes."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def with_alpha() -> Image.Image:
    image = make_image(60, 40).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((60, 40)))
    return image


def premultiplied(mode: str) -> bytes:
    """Make a TIFF that says of its transparency that the colours are multiplied by it (ExtraSamples 1)."""
    return replace(encode(with_alpha().convert(mode), "TIFF"), b"\x52\x01\x03\x00\x01\x00\x00\x00\x02", -1, 1)


def gray_16() -> Image.Image:
    """Draw in 16 bits of grey, 0 to 60,000."""
    return Image.fromarray(np.asarray(make_image(60, 40).convert("L")).astype(np.uint16) * 240)


def big_endian(image: Image.Image) -> Image.Image:
    return Image.frombytes("I;16B", image.size, np.asarray(image).astype(">u2").tobytes())


def float_gray() -> Image.Image:
    """Draw in floating-point grey, -50 to 350 with fractions."""
    return Image.fromarray(np.asarray(gray_16()).astype(np.float32) / 150 - 50)


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    converted = ImageCms.applyTransform(make_image(60, 40), ImageCms.buildTransform(*profiles, "RGB", "LAB"))
    assert converted is not None
    return converted


def adobe_jpeg(transform: int | None) -> bytes:
    """Make a JPEG of four channels whose Adobe marker says 0 for CMYK, 2 for YCCK; or one without that marker."""
    content = encode(make_image(60, 40).convert("CMYK"), "JPEG")
    if transform is not None:
        return replace(content, b"Adobe\x00d\x00\x00\x00\x00\x00", -1, transform)
    start = content.index(b"\xff\xee\x00\x0eAdobe")
    return content[:start] + content[start + 16 :]


def replace(content: bytes, known: bytes, offset: int, value: int) -> bytes:
    """Put another byte in the place `offset` of some bytes that occur once."""
    assert content.count(known) == 1
    changed = bytearray(known)
    changed[offset] = value
    return content.replace(known, bytes(changed))


def rotated_by_xmp(orientation: int) -> bytes:
    xmp = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{orientation}"/></x:xmpmeta>'
    return encode(make_image(60, 40), "JPEG", xmp=xmp.encode())


FILES: dict[str, Callable[[], bytes]] = {
    "plain.jpg": lambda: encode(make_image(60, 40), "JPEG"),
    "progressive.jpg": lambda: encode(make_image(60, 40), "JPEG", progressive=True),
    "plain.png": lambda: encode(make_image(60, 40), "PNG"),
    "plain.webp": lambda: encode(make_image(60, 40), "WEBP"),
    "plain.avif": lambda: encode(make_image(60, 40), "AVIF"),
    "plain.bmp": lambda: encode(make_image(60, 40), "BMP"),
    "plain.tiff": lambda: encode(make_image(60, 40), "TIFF"),
    "plain.jp2": lambda: encode(make_image(60, 40), "JPEG2000"),
    "plain.ppm": lambda: encode(make_image(60, 40), "PPM"),
    "plain.qoi": lambda: encode(make_image(60, 40), "QOI"),
    "plain.mpo": lambda: encode(make_image(60, 40), "MPO", save_all=True, append_images=[make_image(60, 40, 1)]),
    "gray.jpg": lambda: encode(make_image(60, 40).convert("L"), "JPEG"),
    "gray.jp2": lambda: encode(make_image(60, 40).convert("L"), "JPEG2000"),
    "gray_with_alpha.png": lambda: encode(with_alpha().convert("LA"), "PNG"),
    "gray_with_alpha.tiff": lambda: encode(with_alpha().convert("LA"), "TIFF"),
    "gray_with_a_transparent_level.png": lambda: encode(make_image(60, 40).convert("L"), "PNG", transparency=90),
    "gray_16.png": lambda: encode(gray_16(), "PNG"),
    "gray_16.tiff": lambda: encode(gray_16(), "TIFF"),
    "gray_16.jp2": lambda: encode(gray_16(), "JPEG2000"),
    "gray_16.pgm": lambda: encode(gray_16().convert("I"), "PPM"),
    "gray_16_big_endian.tiff": lambda: encode(big_endian(gray_16()), "TIFF"),
    "gray_32.tiff": lambda: encode(gray_16().convert("I"), "TIFF"),
    "float.tiff": lambda: encode(float_gray(), "TIFF"),
    "float.pfm": lambda: encode(float_gray(), "PPM"),
    "one_bit.png": lambda: encode(make_image(60, 40).convert("1"), "PNG"),
    "one_bit.tiff": lambda: encode(make_image(60, 40).convert("1"), "TIFF"),
    "one_bit.bmp": lambda: encode(make_image(60, 40).convert("1"), "BMP"),
    "cmyk.jpg": lambda: adobe_jpeg(0),
    "cmyk_without_adobes_marker.jpg": lambda: adobe_jpeg(None),
    "ycck.jpg": lambda: adobe_jpeg(2),
    "cmyk.tiff": lambda: encode(make_image(60, 40).convert("CMYK"), "TIFF"),
    "cmyk.jp2": lambda: encode(make_image(60, 40).convert("CMYK"), "JPEG2000"),
    "ycbcr.tiff": lambda: encode(make_image(60, 40).convert("YCbCr"), "TIFF"),
    "lab.tiff": lambda: encode(lab(), "TIFF"),
    "rgbx.tiff": lambda: encode(make_image(60, 40).convert("RGBX"), "TIFF"),
    "alpha.png": lambda: encode(with_alpha(), "PNG"),
    "alpha.webp": lambda: encode(with_alpha(), "WEBP"),
    "alpha.tiff": lambda: encode(with_alpha(), "TIFF"),
    "alpha.jp2": lambda: encode(with_alpha(), "JPEG2000"),
    "alpha.avif": lambda: encode(with_alpha(), "AVIF"),
    "alpha.ico": lambda: encode(with_alpha(), "ICO"),
    "premultiplied_alpha.tiff": lambda: premultiplied("RGBA"),
    "a_transparent_color.png": lambda: encode(make_image(60, 40), "PNG", transparency=(90, 80, 70)),
    "palette.png": lambda: encode(make_image(60, 40).quantize(16), "PNG"),
    "palette_of_2_bits.png": lambda: encode(make_image(60, 40).quantize(4), "PNG", bits=2),
    "palette.tiff": lambda: encode(make_image(60, 40).quantize(16), "TIFF"),
    "palette.bmp": lambda: encode(make_image(60, 40).quantize(16), "BMP"),
    "palette_with_alpha.tiff": lambda: encode(with_alpha().convert("P").convert("PA"), "TIFF"),
    "palette_with_one_transparent_color.png": lambda: palette_with_transparency(is_per_color=False),
    "palette_with_one_transparent_color.gif": lambda: encode(make_image(60, 40).quantize(16), "GIF", transparency=3),
    "palette_with_transparency.png": lambda: palette_with_transparency(is_per_color=True),
    "animated.gif": lambda: animated("GIF"),
    "animated.webp": lambda: animated("WEBP"),
    "animated.png": lambda: animated("PNG"),
    "animated_behind_another_image.png": lambda: animated("PNG", default_image=True),
    "animated.avif": lambda: animated("AVIF"),
    "pages.tiff": lambda: animated("TIFF"),
    "one_pixel.png": lambda: encode(make_image(1, 1), "PNG"),
    "one_column.png": lambda: encode(make_image(1, 5000), "PNG"),
    "one_row.jpg": lambda: encode(make_image(5000, 1), "JPEG"),
    **{f"orientation_{value}.jpg": lambda value=value: rotated(value) for value in range(1, 9)},
    **{f"orientation_{value}.png": lambda value=value: rotated(value, "PNG") for value in range(1, 9)},
    **{f"orientation_{value}.webp": lambda value=value: rotated(value, "WEBP") for value in range(1, 9)},
    **{f"orientation_{value}.tiff": lambda value=value: rotated(value, "TIFF") for value in range(1, 9)},
    **{f"orientation_{value}.avif": lambda value=value: rotated(value, "AVIF") for value in range(1, 9)},
    **{f"xmp_orientation_{value}.jpg": lambda value=value: rotated_by_xmp(value) for value in (3, 6)},
    "orientation_9.jpg": lambda: rotated(9),
    "cmyk_orientation_8.jpg": lambda: encode(make_image(60, 40).convert("CMYK"), "JPEG", exif=exif_of(8)),
    "gray_16_orientation_6.png": lambda: encode(gray_16(), "PNG", exif=exif_of(6)),
    "palette_orientation_7.png": lambda: encode(make_image(60, 40).quantize(16), "PNG", exif=exif_of(7)),
}

# Modes that no file is opened in, but that a program may hand over.
MODES: dict[str, Callable[[], Image.Image]] = {
    **{
        mode: lambda mode=mode: with_alpha().convert(mode)
        for mode in ("1", "L", "LA", "P", "CMYK", "YCbCr", "HSV", "RGB", "RGBX", "RGBA", "RGBa", "I", "F")
    },
    "PA": lambda: with_alpha().convert("P").convert("PA"),
    "LAB": lab,
    "I;16": gray_16,
    "I;16B": lambda: big_endian(gray_16()),
    "I;16L": lambda: Image.frombytes("I;16L", (60, 40), gray_16().tobytes()),
}
