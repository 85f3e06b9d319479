"""Which kind a file is, by its first bytes; and what is said of kinds that aren't opened."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess import formats
from siglip_ingest.siglip.preprocess.decode import decode_image_with_format
from siglip_ingest.siglip.preprocess.jxl import read_jxl_size
from siglip_ingest.siglip.preprocess.signatures import find_format, name_other_kind
from tests.images import encode, exif_of, heic, make_image


def jxl(width: int = 60, height: int = 40, **options: object) -> bytes:
    pytest.importorskip("pillow_jxl")
    return encode(make_image(width, height), "JXL", **options)


FILES: dict[str, Callable[[], bytes]] = {
    **{
        name: lambda name=name: encode(make_image(60, 40), name)
        for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI", "ICO")
    },
    "HEIF": lambda: heic(make_image(60, 40)),
    "JXL": jxl,
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_is_told_and_decoded(name: str) -> None:
    content = FILES[name]()
    assert find_format(content[:512]) == name
    assert name_other_kind(content[:512]) is None
    decoded = decode_image_with_format(content, max_image_pixels=10_000)
    assert decoded.format == name
    assert (decoded.width, decoded.height) == ((60, 40) if name != "ICO" else (decoded.width, decoded.height))


def tiff(*tags: tuple[int, int, int], at_8: bytes = b"") -> bytes:
    """A TIFF of one strip of grey with more tags: (number, type, value)."""
    usual = [(256, 3, 2), (257, 3, 2), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 300), (277, 3, 1), (279, 4, 4)]
    entries = sorted({tag[0]: tag for tag in (*usual, *tags)}.values())
    first = 8 + len(at_8)
    body = struct.pack("<H", len(entries))
    body += b"".join(struct.pack("<HHII", number, kind, 1, value) for number, kind, value in entries)
    return (b"II*\0" + struct.pack("<I", first) + at_8 + body).ljust(300, b"\0") + b"\x80" * 4


def test_a_plain_tiff_is_decoded() -> None:
    assert decode_image_with_format(tiff(), max_image_pixels=100).width == 2


RAW_FILES = {
    "CR2": tiff(at_8=b"CR\x02\0\0\0\0\0"),
    "DNG": tiff((50706, 1, 0x0401)),
    "NEF and ARW": tiff((254, 4, 1), (330, 4, 200)),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom".ljust(100, b"\0"),
    "RAF": b"FUJIFILMCCD-RAW 0201".ljust(100, b"\0"),
    "ORF": b"IIRO\x08\0\0\0".ljust(100, b"\0"),
    "RW2": b"IIU\0\x18\0\0\0".ljust(100, b"\0"),
}
SVG = b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="http://www.w3.org/2000/svg"/>'
OTHERS = {
    **{name: (content, "a camera's RAW file") for name, content in RAW_FILES.items()},
    "PDF": (b"%PDF-1.7\n", "a PDF document"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "a PostScript file"),
    "SVG": (SVG, "an SVG drawing"),
    "SVG without a declaration": (b"\xef\xbb\xbf <svg width='1'>", "an SVG drawing"),
    "SVG with a document type": (b"<?xml version='1.0'?><!DOCTYPE svg PUBLIC 'x' 'y'><svg>", "an SVG drawing"),
    "HTML": (b"\n<!DOCTYPE html><html>", "a web page"),
    "MP4": (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2".ljust(64, b"\0"), "a video"),
    "QuickTime": (b"\0\0\0\x14ftypqt  \0\0\2\0qt  ".ljust(64, b"\0"), "a video"),
    "Matroska": (b"\x1a\x45\xdf\xa3".ljust(64, b"\0"), "a video"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST".ljust(64, b"\0"), "a video"),
    "ZIP": (b"PK\x03\x04".ljust(64, b"\0"), "an archive"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_people_take_for_an_image_is_named(name: str) -> None:
    content, kind = OTHERS[name]
    with pytest.raises(ImageError) as caught:
        decode_image_with_format(content, max_image_pixels=1000)
    assert caught.value.code == "not_an_image"
    assert str(caught.value).startswith(f"The file is {kind}, which isn't an image that is read.")
    assert find_format(content) in {None, "TIFF"}


@pytest.mark.parametrize(
    "start", [b"", b"P", b"P1 is text", b"Python", b"BMW is a car, and more", b"\0\0\1\0", b"II", b"text", b"\xff"]
)
def test_text_and_short_files_are_no_images(start: bytes) -> None:
    assert find_format(start) is None


def lack(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = formats.is_decodable
    monkeypatch.setattr(formats, "is_decodable", lambda each: each.name not in names and real(each))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("HEIF", r"pillow-heif is needed: pip install '\.\[worker\]'", id="HEIF"),
        pytest.param("JXL", r"pillow-jxl-plugin is needed: pip install '\.\[jxl\]'", id="JXL"),
        pytest.param("AVIF", "a Pillow that decodes AVIF is needed", id="AVIF"),
        pytest.param("WEBP", "a Pillow that decodes WEBP is needed", id="WEBP"),
    ],
)
def test_a_missing_decoder_is_named_by_the_first_bytes(name: str, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = FILES[name]()
    lack(monkeypatch, name)
    monkeypatch.setattr(formats, "_heif_reader", lambda: None)
    monkeypatch.setattr(formats, "find_spec", lambda _: None)
    with pytest.raises(ImageError, match=hint) as caught:
        decode_image_with_format(content, max_image_pixels=10_000)
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize(("width", "height"), [(60, 40), (8, 8), (256, 256), (1600, 1200), (1, 3000), (1920, 1080)])
def test_the_size_of_a_jxl_is_read_from_its_header(width: int, height: int) -> None:
    assert read_jxl_size(jxl(width, height)) == (width, height)
    assert read_jxl_size(jxl(width, height, use_container=True)) == (width, height)


def test_a_large_jxl_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    content = jxl()

    def decode(*_: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr("pillow_jxl.JpegXLImagePlugin.JXLImageFile", decode)
    with pytest.raises(ImageError, match="60 x 40 pixels") as caught:
        decode_image_with_format(content, max_image_pixels=2399)
    assert caught.value.code == "too_large"


def test_a_jxl_is_turned_by_its_own_header_and_not_by_exif() -> None:
    decoded = decode_image_with_format(jxl(exif=exif_of(6).tobytes()), max_image_pixels=10_000)
    assert (decoded.width, decoded.height) == (60, 40)


@pytest.mark.parametrize("length", [2, 5, 11, 12, 20, 40])
def test_a_jxl_that_is_cut_off_is_refused(length: int) -> None:
    for content in (jxl(), jxl(use_container=True)):
        with pytest.raises(ImageError) as caught:
            decode_image_with_format(content[:length], max_image_pixels=10_000)
        assert caught.value.code in {"unreadable", "truncated", "not_an_image"}
