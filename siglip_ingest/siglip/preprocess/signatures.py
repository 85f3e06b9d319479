"""Tells a file's kind by its first bytes: which image format it is, or what else that people take for an image."""

from __future__ import annotations

import re
from typing import Any

START_BYTES = 512  # what `find_format` and `name_other_kind` look at: an SVG may begin with declarations

_HEADERS = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF.{4}WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("BMP", re.compile(rb"BM.{8}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", re.DOTALL)),
    ("TIFF", re.compile(rb"II[\x2a\x2b]\x00|MM\x00[\x2a\x2b]")),
    ("JXL", re.compile(rb"\xff\x0a|\x00\x00\x00\x0cJXL \r\n\x87\n")),
    ("JPEG2000", re.compile(rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51")),
    ("PPM", re.compile(rb"P[1-6]\s+[\d#]")),
    ("ICO", re.compile(rb"\x00\x00\x01\x00[\x01-\xff]\x00..[\x00-\xff]\x00", re.DOTALL)),
    ("QOI", re.compile(rb"qoif")),
    ("PSD", re.compile(rb"8BPS\x00\x01")),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_ANY_CODEC_BRANDS = frozenset({b"mif1", b"msf1"})  # which it is, the other brands of the file say
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}) | _ANY_CODEC_BRANDS

RAW = "a camera's RAW file"
_OTHERS = (
    (re.compile(rb"II\x2a\x00.{4}CR", re.DOTALL), RAW),
    (re.compile(rb"....ftypcrx ", re.DOTALL), RAW),
    (re.compile(rb"FUJIFILMCCD-RAW|II(?:RO|RS|U\x00)|MMOR|FOVb|\x00MRM"), RAW),
    (re.compile(rb"%PDF-"), "a PDF document"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "a PostScript file"),
    (
        re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml.*?)?(?:<!--.*?-->\s*)*(?:<!DOCTYPE svg.*?)?<svg\b", re.DOTALL),
        "an SVG drawing",
    ),
    (re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+)?html\b", re.IGNORECASE), "a web page"),
    (re.compile(rb"....(?:ftyp|moov|mdat)", re.DOTALL), "a video"),
    (
        re.compile(rb"\x1a\x45\xdf\xa3|RIFF....AVI |FLV\x01|\x00\x00\x01[\xba\xb3]|\x30\x26\xb2\x75", re.DOTALL),
        "a video",
    ),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive"),
)
_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706  # tags of TIFF, TIFF/EP and DNG


def find_format(start: bytes) -> str | None:
    """Pillow's name of the image format of a file with these first `START_BYTES`, whether it can be decoded or not."""
    if start[4:8] == b"ftyp":
        return _find_heif(start)
    if name_other_kind(start) is not None:
        return None
    return next((name for name, header in _HEADERS if header.match(start)), None)


def name_other_kind(start: bytes) -> str | None:
    """What a file is that is none of the images that are read, with its article; None where that isn't known."""
    if start[4:8] == b"ftyp" and _find_heif(start) is not None:
        return None
    return next((name for header, name in _OTHERS if header.match(start)), None)


def is_raw_tiff(tags: Any) -> bool:
    """Whether the first page of a TIFF is the thumbnail of a camera's RAW file (DNG, NEF, ARW), by its tags."""
    return _DNG_VERSION in tags or (tags.get(_SUBFILE_TYPE) == 1 and _SUB_IFDS in tags)


def _find_heif(start: bytes) -> str | None:
    """HEIF or AVIF, which share a container."""
    length = int.from_bytes(start[:4], "big")
    brands = {start[8:12], *(start[at : at + 4] for at in range(16, min(length, len(start)), 4))}
    if start[8:12] in _AVIF_BRANDS or (start[8:12] in _ANY_CODEC_BRANDS and brands & _AVIF_BRANDS):
        return "AVIF"
    return "HEIF" if start[8:12] in HEIF_BRANDS else None
