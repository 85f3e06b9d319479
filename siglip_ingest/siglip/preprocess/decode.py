"""The bytes of a file to an upright RGB image. Needs Pillow only.

Messages never quote a file, nor Pillow's exceptions, some of which do: a person who may read why an image failed need
not be allowed to read the file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.siglip.preprocess.formats import find_readers
from siglip_ingest.siglip.preprocess.jxl import is_jxl, read_jxl_size
from siglip_ingest.siglip.preprocess.reduced import ChooseSize, reduce_jpeg
from siglip_ingest.siglip.preprocess.signatures import RAW, START_BYTES, is_raw_tiff, name_other_kind

_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ON_THEIR_SIDE = {5, 6, 7, 8}

_PNG_MODES = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image and what its file said.

    Attributes:
        image: RGB, upright, first frame; smaller than the file's where that was asked for.
        format: Pillow's name of the file's format, such as `JPEG`.
        width: Of the file's image, upright, in pixels.
        height: Of the file's image, upright, in pixels.
    """

    image: Image.Image
    format: str
    width: int
    height: int


def decode_image(content: bytes, *, max_image_pixels: int, clip_16_bit: bool = False) -> Image.Image:
    """Decode the bytes of an image file; see `decode_image_with_format`, of which this returns the image alone."""
    return decode_image_with_format(content, max_image_pixels=max_image_pixels, clip_16_bit=clip_16_bit).image


def decode_image_with_format(content: bytes, *, max_image_pixels: int, clip_16_bit: bool = False) -> DecodedImage:
    """Decode the bytes of an image file: the first frame, turned upright as its EXIF data say, in RGB.

    What the reference's loader makes of a file is made here, for the scores to be its own: an alpha channel is dropped,
    and brightness above 255 of 32 bits and of floating point is clipped to white. One thing differs unless
    `clip_16_bit` asks for it: 16-bit grey is scaled to 8 bits, where the reference's loader makes most of it white.

    Args:
        content: The whole file.
        max_image_pixels: An image of more pixels is refused from its header alone, before memory is taken for it.
        clip_16_bit: Make of 16-bit grey what transformers makes of it.

    Raises:
        ImageError: With the code `not_an_image`, `truncated`, `too_large` or `unreadable`.
    """
    with hold_decoded_image(content, max_image_pixels=max_image_pixels, clip_16_bit=clip_16_bit) as decoded:
        return decoded


@contextmanager
def hold_decoded_image(
    content: bytes,
    *,
    max_image_pixels: int,
    budget: PixelBudget | None = None,
    clip_16_bit: bool = False,
    choose_size: ChooseSize | None = None,
) -> Iterator[DecodedImage]:
    """Decode the bytes of an image file, and hold its pixels within a budget for as long as the block lasts.

    The block resizes the image and lets go of it: then the budget bounds the memory of all who decode under it. See
    `decode_image_with_format` for the rest.

    Args:
        content: The whole file.
        max_image_pixels: An image of more pixels is refused before anybody waits.
        budget: Waited for between the header and the pixels; None doesn't wait.
        clip_16_bit: Make of 16-bit grey what transformers makes of it.
        choose_size: To what the image will be resized: a JPEG that is far larger is decoded at a reduced scale. None
            decodes all pixels.

    Raises:
        ImageError: With the code `not_an_image`, `truncated`, `too_large` or `unreadable`.
    """
    image = None
    if is_jxl(content):  # opening one decodes it
        width, height = _read_jxl_size(content)
    else:
        image = open_header(content)
        width, height = image.size
    if width * height > max_image_pixels:
        raise ImageError(
            f"The image has {width:,} x {height:,} pixels, more than the {max_image_pixels:,} that are accepted. "
            "Make it smaller, or raise SIGLIP_MAX_IMAGE_PIXELS.",
            code="too_large",
        )
    full_size = None
    if image is not None and choose_size is not None:
        reduce_jpeg(image, choose_size, is_on_its_side=_read_orientation(image) in _ON_THEIR_SIDE)
        full_size = width, height
        width, height = image.size
    with nullcontext() if budget is None else budget.hold(width * height):
        decoded = _decode(image or open_header(content), content, full_size=full_size, clip_16_bit=clip_16_bit)
        del image  # its pixels are the caller's now
        yield decoded


def _read_jxl_size(content: bytes) -> tuple[int, int]:
    size = read_jxl_size(content)
    if size is None:
        raise ImageError("The JXL file's header can't be read. It is damaged or cut off.", code="unreadable")
    return size


def _decode(
    image: ImageFile.ImageFile, content: bytes, *, full_size: tuple[int, int] | None, clip_16_bit: bool
) -> DecodedImage:
    image_format = image.format or "unknown"
    try:
        image.load()
        orientation = _read_orientation(image)
        upright = _turn(_take_rgb(image, clip_16_bit=clip_16_bit), orientation)
    except Image.DecompressionBombError as error:
        raise ImageError(f"The {image_format} image needs too much memory to be decoded.", code="too_large") from error
    except Exception as error:  # a hostile file can raise anything in Pillow's decoders
        raise _to_image_error(error, image_format, content) from error
    width, height = upright.size
    if full_size is not None:
        width, height = full_size[::-1] if orientation in _ON_THEIR_SIDE else full_size
    return DecodedImage(image=upright, format=image_format, width=width, height=height)


@contextmanager
def pil_errors() -> Iterator[None]:
    """Map what Pillow raises while it reads the file behind a PIL image to an ImageError of code `unreadable`."""
    try:
        yield
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: a damaged PNG
        raise ImageError("The PIL image can't be read: its file is damaged or gone.", code="unreadable") from error


def encode_png(image: Image.Image) -> bytes:
    """Write a PIL image, turned upright, as a PNG file, without loss.

    Raises:
        ImageError: If the file behind it can't be read.
    """
    with pil_errors():
        upright = make_upright(image) if image.mode in _PNG_MODES else make_upright_rgb(image)
        buffer = io.BytesIO()
        upright.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def make_upright_rgb(image: Image.Image, *, clip_16_bit: bool = False) -> Image.Image:
    """Turn an image upright as its EXIF data say and convert it to RGB, as transformers' `load_image` does.

    Args:
        image: Of any mode.
        clip_16_bit: Make of 16-bit grey what transformers makes of it; else it is scaled to 8 bits.

    Returns:
        The image without EXIF data, so that it isn't turned again; the same object where there is nothing to do. Its
        `info` keeps the `transparency` of a file in which one colour stands for it.
    """
    image.load()  # Pillow turns TIFFs itself while it loads them, and changes the EXIF data to match
    orientation = _read_orientation(image)
    if image.mode == "RGB" and orientation == 1 and not isinstance(image, ImageFile.ImageFile):
        return image
    return _turn(_convert_to_rgb(image, clip_16_bit=clip_16_bit), orientation)


def make_upright(image: Image.Image) -> Image.Image:
    """Turn an image upright as its EXIF data say, in the mode that it has.

    Returns:
        A copy without EXIF data; what is transparent stays so.
    """
    return _turn(image.copy(), _read_orientation(image))


def lay_on_white(image: Image.Image) -> Image.Image:
    """Lay an image on white where it is transparent, as transformers' `SiglipImageProcessor` lays what it is given.

    What its loader made has no alpha channel any more and shows what was below; but the one colour that a file may
    declare transparent is still known then, and becomes white.

    Returns:
        An RGB image, or the same object where nothing is transparent.
    """
    transparency = image.info.get("transparency")
    is_transparent = isinstance(transparency, tuple) if image.mode == "RGB" else transparency is not None
    if not is_transparent and "A" not in image.getbands():
        return image
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _turn(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image of our own upright and forget what its file said, but for a transparent colour."""
    turned = image.transpose(_TRANSPOSITIONS[orientation]) if orientation in _TRANSPOSITIONS else image
    turned.info = {name: value for name, value in image.info.items() if name == "transparency"}
    return turned


def _take_rgb(image: ImageFile.ImageFile, *, clip_16_bit: bool) -> Image.Image:
    """Take the pixels out of a file that is used nowhere else, in RGB.

    `convert` would copy those that are RGB already, which takes as long as half of the decoding of a large JPEG.
    """
    return image._new(image.im) if image.mode == "RGB" else _convert_to_rgb(image, clip_16_bit=clip_16_bit)


def _convert_to_rgb(image: Image.Image, *, clip_16_bit: bool) -> Image.Image:
    if not clip_16_bit and (bits := _count_gray_bits(image)):
        image = image.convert("I").point(_high_bytes(bits), "L")
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours, without Pillow's warning about them
    elif image.mode == "La":
        image = image.convert("LA")  # Pillow knows no direct way, and the reference fails on it
    return image.convert("RGB")


def _count_gray_bits(image: Image.Image) -> int | None:
    """How many bits the grey of an image has where they are more than 8 and their white is known: 12 or 16; or None."""
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(ExifTags.Base.BitsPerSample)  # of a TIFF
        return 12 if bits == (12,) else 16
    # Pillow opens 16-bit PGM as 32 bits, its values stretched to 65,535.
    return 16 if image.mode == "I" and image.format == "PPM" else None


@cache
def _high_bytes(bits: int) -> list[int]:
    """For each of 65,536 values its 8 highest of so many bits.

    That is what Pillow and libpng keep of 16-bit colour, so that grey and colour fare alike; and what was widened from
    8 bits (v * 257, or v << 8) comes back as it was.
    """
    return [min(value >> (bits - 8), 255) for value in range(65536)]


def _read_orientation(image: Image.Image) -> int:
    """Read the EXIF orientation, 1 to 8. An image is not refused for broken EXIF data: it counts as upright."""
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1  # its decoder has turned it already; a JPEG that was packed into one comes as it was
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001  Pillow's EXIF parser raises anything on broken data
        return 1
    return orientation if isinstance(orientation, int) else 1


def open_header(content: bytes) -> ImageFile.ImageFile:
    """Read a file's header, without pixels; a JPEG XL file is decoded.

    `Image.open` would warn about large images, or refuse them, by a limit that is global to the process; ours is an
    argument. So the format's own reader is asked, which is all that `Image.open` does besides.

    Raises:
        ImageError: With the code `not_an_image` or `unreadable`.
    """
    looks_like = missing_decoder = None
    names: list[str] = []
    for name, read, accept in find_readers():
        names.append(name)
        try:
            answer = accept(content[:16])
            if answer is not True:
                missing_decoder = answer or missing_decoder
                continue
            looks_like = name
            return _refuse_raw(read(io.BytesIO(content), ""), content)
        except ImageError:
            raise
        except (SyntaxError, IndexError, TypeError, struct.error, UnidentifiedImageError):
            continue  # another reader may know it: this is how Pillow's readers say that a file is not theirs
        except Exception as error:  # a hostile file can raise anything in Pillow's readers
            raise _to_image_error(error, name, content) from error
    if missing_decoder:
        raise ImageError(f"The image can't be decoded here: {missing_decoder}.", code="unreadable")
    if looks_like is not None:
        raise ImageError(
            f"The file begins as a {looks_like} file does, but its header can't be read. It is damaged or cut off.",
            code="unreadable",
        )
    if kind := name_other_kind(content[:START_BYTES]):
        raise _not_an_image(kind)
    what = f"of {len(content):,} bytes is not an image of a known kind ({', '.join(names)})" if content else "is empty"
    raise ImageError(f"The file {what}.", code="not_an_image")


def _refuse_raw(image: ImageFile.ImageFile, content: bytes) -> ImageFile.ImageFile:
    """Return an image, unless it is the thumbnail with which a camera's RAW file begins as a TIFF."""
    if image.format == "TIFF" and (is_raw_tiff(getattr(image, "tag_v2", {})) or name_other_kind(content[:16]) == RAW):
        raise _not_an_image(RAW)
    return image


def _not_an_image(kind: str) -> ImageError:
    message = f"The file is {kind}, which isn't an image that is read. Index a JPEG or another image made from it."
    return ImageError(message, code="not_an_image")


def _to_image_error(error: Exception, image_format: str, content: bytes) -> ImageError:
    if "truncated" in str(error).lower():
        message = f"The {image_format} file is cut off: {len(content):,} bytes are there and some are missing."
        return ImageError(message, code="truncated")
    return ImageError(
        f"The {image_format} file can't be decoded. It is damaged, or of a variant that Pillow doesn't read.",
        code="unreadable",
    )
