"""The bytes of a file to an upright RGB picture, as transformers' `load_image` makes it. Needs Pillow only."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from siglip_ingest.errors import ImageError

# What people keep pictures in. Formats that run other programs (EPS) or that no photograph comes in are not tried.
IMAGE_FORMATS = (
    "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "MPO", "PPM", "ICO", "DIB", "QOI", "PSD",
)  # fmt: skip

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture and what its file said.

    Attributes:
        image: RGB, upright, first frame.
        format: Pillow's name of the file's format, such as `JPEG`.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
    """

    image: Image.Image
    format: str
    width: int
    height: int


def decode_image(content: bytes, *, max_image_pixels: int) -> Image.Image:
    """Decode the bytes of an image file; see `decode_image_with_format`, of which this returns the picture alone."""
    return decode_image_with_format(content, max_image_pixels=max_image_pixels).image


def decode_image_with_format(content: bytes, *, max_image_pixels: int) -> DecodedImage:
    """Decode the bytes of an image file: the first frame, turned upright as its EXIF data say, in RGB.

    Whatever the reference's loader makes of a file is made here, for the scores to be its own: an alpha channel is
    dropped, and brightness above 255 (of 16 and 32 bits and of floating point) is clipped to white.

    Args:
        content: The whole file.
        max_image_pixels: A picture of more pixels is refused from its header alone, before memory is taken for it.

    Raises:
        ImageError: With the code `not_an_image`, `truncated`, `too_large` or `unreadable`.
    """
    image = _open_image(content)
    width, height = image.size
    if width * height > max_image_pixels:
        raise ImageError(
            f"The image has {width:,} x {height:,} pixels, more than the {max_image_pixels:,} that are accepted. "
            "Make it smaller, or raise SIGLIP_MAX_IMAGE_PIXELS.",
            code="too_large",
        )
    image_format = image.format or "unknown"
    try:
        image.load()
        orientation = _read_orientation(image)
        upright = _turn(_take_rgb(image), orientation)
    except Image.DecompressionBombError as error:
        raise ImageError(f"The {image_format} image needs too much memory: {error}", code="too_large") from error
    except Exception as error:  # a hostile file can raise anything in Pillow's decoders
        raise _to_image_error(error, image_format, content) from error
    return DecodedImage(image=upright, format=image_format, width=upright.width, height=upright.height)


def make_upright_rgb(image: Image.Image) -> Image.Image:
    """Turn a picture upright as its EXIF data say and convert it to RGB, as transformers' `load_image` does.

    Returns:
        The picture without EXIF data, so that nobody turns it again; the same object where there is nothing to do. Its
        `info` keeps the `transparency` of a file in which one colour stands for it.
    """
    image.load()  # Pillow turns TIFFs itself while it loads them, and changes the EXIF data to match
    orientation = _read_orientation(image)
    if image.mode == "RGB" and orientation == 1 and not isinstance(image, ImageFile.ImageFile):
        return image
    return _turn(_convert_to_rgb(image), orientation)


def make_upright(image: Image.Image) -> Image.Image:
    """Turn a picture upright as its EXIF data say, in the mode that it has.

    Returns:
        A copy without EXIF data; what is transparent stays so.
    """
    return _turn(image.copy(), _read_orientation(image))


def lay_on_white(image: Image.Image) -> Image.Image:
    """Lay a picture on white where it is transparent, as transformers' `SiglipImageProcessor` lays what it is given.

    What its loader made has no alpha channel any more and shows what was below; but the one colour that a file may
    declare transparent is still known then, and becomes white.

    Returns:
        An RGB picture, or the same object where nothing is transparent.
    """
    transparency = image.info.get("transparency")
    is_transparent = isinstance(transparency, tuple) if image.mode == "RGB" else transparency is not None
    if not is_transparent and "A" not in image.getbands():
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a picture of our own upright and forget what its file said, but for a transparent colour."""
    turned = image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image
    turned.info = {name: value for name, value in image.info.items() if name == "transparency"}
    return turned


def _take_rgb(image: ImageFile.ImageFile) -> Image.Image:
    """Take the pixels out of a file that nobody else holds, in RGB.

    `convert` would copy those that are RGB already, which takes as long as half of the decoding of a large JPEG.
    """
    return image._new(image.im) if image.mode == "RGB" else _convert_to_rgb(image)


def _convert_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours, without Pillow's warning about them
    elif image.mode == "La":
        image = image.convert("LA")  # Pillow knows no direct way, and the reference fails on it
    return image.convert("RGB")


def _read_orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8. A picture is not refused for broken EXIF data: it counts as upright."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  Pillow's EXIF parser raises anything on broken data
        return 1
    return orientation if isinstance(orientation, int) else 1


def _open_image(content: bytes) -> ImageFile.ImageFile:
    """Read a file's header, without pixels.

    `Image.open` would warn about large pictures, or refuse them, by a limit that is global to the process; ours is an
    argument. So the format's own reader is asked, which is all that `Image.open` does besides.

    Raises:
        ImageError: With the code `not_an_image` or `unreadable`.
    """
    Image.init()
    looks_like = None
    for name in IMAGE_FORMATS:
        factory, accept = Image.OPEN.get(name, (None, None))
        if factory is None or accept is None:
            continue
        try:
            if accept(content[:16]) is not True:
                continue
            looks_like = name
            return factory(io.BytesIO(content), "")
        except (SyntaxError, IndexError, TypeError, struct.error, UnidentifiedImageError):
            continue  # another reader may know it: this is how Pillow's readers say that a file is not theirs
        except Exception as error:  # a hostile file can raise anything in Pillow's readers
            raise _to_image_error(error, name, content) from error
    if looks_like is not None:
        raise ImageError(
            f"The file begins as a {looks_like} file does, but its header can't be read. It is damaged or cut off.",
            code="unreadable",
        )
    start = repr(content[:16])[1:] if content else "nothing: the file is empty"
    raise ImageError(
        f"The file is not an image of a known kind ({', '.join(IMAGE_FORMATS)}): it begins with {start}.",
        code="not_an_image",
    )


def _to_image_error(error: Exception, image_format: str, content: bytes) -> ImageError:
    if "truncated" in str(error).lower():
        message = f"The {image_format} file is cut off: {len(content):,} bytes are there and some are missing."
        return ImageError(message, code="truncated")
    reason = str(error).strip().rstrip(".") or type(error).__name__
    return ImageError(f"The {image_format} file is damaged: {reason}.", code="unreadable")
