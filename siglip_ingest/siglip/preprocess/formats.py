"""The image formats that are read, and which of them the installed Pillow can decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache, partial
from importlib.util import find_spec
from typing import IO, Any, NamedTuple

from PIL import Image, ImageFile, features

from siglip_ingest.process import how_to_install
from siglip_ingest.siglip.preprocess.jxl import is_jxl
from siglip_ingest.siglip.preprocess.signatures import HEIF_BRANDS, find_format

HEIF_HINT = f"pillow-heif is needed: {how_to_install('worker')}"
JXL_HINT = f"pillow-jxl-plugin is needed: {how_to_install('jxl')}"

Reader = Callable[..., ImageFile.ImageFile]
Accept = Callable[[bytes], bool | str]  # a sentence in place of True: the format is known, its decoder isn't there


class ImageFormat(NamedTuple):
    """One kind of image file.

    Attributes:
        name: Pillow's name of it.
        suffixes: What its files in a folder are known by; none where photographs don't come in it.
        codec: Pillow's name of the part that decodes it, where Pillow can be built without.
    """

    name: str
    suffixes: tuple[str, ...] = ()
    codec: str | None = None


# What people keep images in. Formats that run other programs (EPS) or that no photograph comes in are not tried.
IMAGE_FORMATS = (
    ImageFormat("JPEG", (".jfif", ".jpe", ".jpeg", ".jpg"), "jpg"),
    ImageFormat("PNG", (".png",), "zlib"),
    ImageFormat("WEBP", (".webp",), "webp"),
    ImageFormat("GIF", (".gif",)),
    ImageFormat("BMP", (".bmp",)),
    ImageFormat("TIFF", (".tif", ".tiff")),
    ImageFormat("AVIF", (".avif",), "avif"),
    ImageFormat("HEIF", (".heic", ".heif", ".hif")),  # pillow-heif, see `find_readers`
    ImageFormat("JXL", (".jxl",)),  # pillow-jxl-plugin, see `find_readers`
    ImageFormat("JPEG2000", codec="jpg_2000"),
    ImageFormat("MPO"),
    ImageFormat("PPM", (".ppm",)),
    ImageFormat("ICO"),
    ImageFormat("DIB"),
    ImageFormat("QOI"),
    ImageFormat("PSD"),
)
IMAGE_SUFFIXES = frozenset(suffix for image_format in IMAGE_FORMATS for suffix in image_format.suffixes)


def is_decodable(image_format: ImageFormat) -> bool:
    """True where files of this format can be decoded here."""
    if image_format.name == "HEIF":
        return _heif_reader() is not None
    if image_format.name == "JXL":
        return find_spec("pillow_jxl") is not None
    Image.init()
    return image_format.name in Image.OPEN and (image_format.codec is None or _has_codec(image_format.codec))


@cache
def _has_codec(name: str) -> bool:
    return bool(features.check(name))


@cache
def decodable_suffixes() -> frozenset[str]:
    """Those of `IMAGE_SUFFIXES` whose files can be decoded here."""
    return frozenset(
        suffix for image_format in IMAGE_FORMATS if is_decodable(image_format) for suffix in image_format.suffixes
    )


def explain_missing_decoder(suffix: str) -> str:
    """Say what files with one of `IMAGE_SUFFIXES` need, as the end of a sentence that begins "for which"."""
    name = next(image_format.name for image_format in IMAGE_FORMATS if suffix in image_format.suffixes)
    hints = {"HEIF": HEIF_HINT, "JXL": JXL_HINT}
    return hints.get(name, f"a Pillow that decodes {name} is needed")


def find_readers() -> Iterator[tuple[str, Reader, Accept]]:
    """Give the name of each format, what opens its files, and what tells them by their first 16 bytes."""
    Image.init()
    for image_format in IMAGE_FORMATS:
        if image_format.name == "HEIF":
            yield "HEIF", _heif_reader() or _refuse, _accept_heif
        elif image_format.name == "JXL":
            yield "JXL", _read_jxl, _accept_jxl
        else:
            reader, accept = Image.OPEN.get(image_format.name, (None, None))
            if image_format.suffixes and not is_decodable(image_format):
                yield image_format.name, _refuse, partial(_accept_missing, image_format)
            elif reader is not None and accept is not None:
                yield image_format.name, reader, accept


@cache
def _heif_reader() -> Reader | None:
    """Find pillow-heif's reader. It isn't registered with Pillow: that would change `Image.open` for the program."""
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return None
    reader: Reader = HeifImageFile
    return reader


def _accept_heif(start: bytes) -> bool | str:
    if start[4:8] != b"ftyp" or start[8:12] not in HEIF_BRANDS:
        return False
    return _heif_reader() is not None or HEIF_HINT


def _accept_jxl(start: bytes) -> bool | str:
    if not is_jxl(start):
        return False
    return find_spec("pillow_jxl") is not None or JXL_HINT


def _read_jxl(file: IO[bytes], name: str) -> ImageFile.ImageFile:
    """Open a JPEG XL file. The plug-in decodes at once what it opens, and registers itself with Pillow."""
    from pillow_jxl.JpegXLImagePlugin import JXLImageFile

    reader: Reader = JXLImageFile
    return reader(file, name)


def _accept_missing(image_format: ImageFormat, start: bytes) -> bool | str:
    """Know the files of a format that Pillow was built without."""
    return find_format(start) == image_format.name and explain_missing_decoder(image_format.suffixes[0])


def _refuse(*_: Any) -> ImageFile.ImageFile:
    raise SyntaxError("no reader")
