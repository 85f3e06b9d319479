"""Bytes of files to images: the odd kinds, and what is refused."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess import formats
from siglip_ingest.siglip.preprocess.decode import (
    decode_image,
    decode_image_with_format,
    make_upright,
    make_upright_rgb,
)
from tests.images import encode, heic, make_image, png_header_of, rotated

LIMIT = 1_000_000
RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def refuse(content: bytes, *, max_image_pixels: int = LIMIT) -> ImageError:
    with pytest.raises(ImageError) as raised:
        decode_image(content, max_image_pixels=max_image_pixels)
    assert not raised.value.is_retryable
    return raised.value


@pytest.mark.parametrize(
    "content",
    [b"", b"a", b"These are holiday notes.\n", b"<svg></svg>", b"%PDF-1.7 and so on and on", bytes(1000)],
    ids=["empty", "one_byte", "text", "svg", "pdf", "zeros"],
)
def test_what_is_no_image_is_refused_as_not_an_image(content: bytes) -> None:
    error = refuse(content)
    assert error.code == "not_an_image"
    assert "holiday" not in str(error)


def test_postscript_is_never_run() -> None:
    assert refuse(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").code == "not_an_image"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_cut_off_file_is_refused_as_truncated(image_format: str) -> None:
    content = encode(make_image(300, 200), image_format)
    error = refuse(content[: len(content) // 2])
    assert error.code == "truncated"
    assert image_format in str(error)


@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI"]
)
@pytest.mark.parametrize("kept", [3, 10, 20, 40, 90])
def test_a_file_cut_off_in_its_header_is_refused_with_a_sentence(image_format: str, kept: int) -> None:
    error = refuse(encode(make_image(300, 200), image_format)[:kept])
    assert error.code in {"truncated", "unreadable", "not_an_image"}
    assert str(error).endswith(".")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damaged_bytes_give_an_image_or_an_image_error(image_format: str) -> None:
    content = encode(make_image(60, 40), image_format)
    random = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for position in random.integers(0, len(content), 8):
            damaged[position] = random.integers(0, 256)
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(damaged), max_image_pixels=LIMIT).mode == "RGB"


def test_a_huge_png_is_refused_before_memory_is_taken_for_it() -> None:
    content = png_header_of(30_000, 30_000)
    tracemalloc.start()
    try:
        error = refuse(content, max_image_pixels=200_000_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.code == "too_large"
    assert "30,000 x 30,000" in str(error)
    assert peak < 10_000_000


def test_an_image_above_pillows_own_limit_is_accepted_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # a warning would fail this test, twice the limit would raise
    content = encode(make_image(60, 40), "PNG")
    assert decode_image(content, max_image_pixels=LIMIT).size == (60, 40)


def test_the_limit_on_pixels_counts_the_last_one() -> None:
    content = encode(make_image(60, 40), "PNG")
    assert decode_image(content, max_image_pixels=2400).size == (60, 40)
    assert refuse(content, max_image_pixels=2399).code == "too_large"


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_gray_is_clipped_at_white_where_the_references_way_is_asked_for(image_format: str) -> None:
    content = encode(Image.fromarray(RAMP), image_format)
    image = decode_image(content, max_image_pixels=LIMIT, clip_16_bit=True)
    np.testing.assert_array_equal(np.asarray(image)[..., 1], RAMP.clip(0, 255))


def big_endian_tiff(values: NDArray[np.uint16]) -> bytes:
    height, width = values.shape
    return encode(Image.frombytes("I;16B", (width, height), values.astype(">u2").tobytes()), "TIFF")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda values: encode(Image.fromarray(values), "PNG"), id="PNG"),
        pytest.param(lambda values: encode(Image.fromarray(values), "TIFF"), id="TIFF"),
        pytest.param(lambda values: encode(Image.fromarray(values), "TIFF", compression="tiff_lzw"), id="LZW"),
        pytest.param(big_endian_tiff, id="big-endian TIFF"),
        pytest.param(lambda values: encode(Image.fromarray(values), "JPEG2000"), id="JPEG 2000"),
        pytest.param(lambda values: encode(Image.fromarray(values.astype(np.int32)), "PPM"), id="PGM"),
    ],
)
def test_16_bit_gray_is_scaled_to_8_bits(make: Callable[[NDArray[np.uint16]], bytes]) -> None:
    content = make(RAMP)
    image = decode_image(content, max_image_pixels=LIMIT)
    for channel in range(3):
        np.testing.assert_array_equal(np.asarray(image)[..., channel], RAMP >> 8)
    with Image.open(io.BytesIO(content)) as opened:
        np.testing.assert_array_equal(np.asarray(make_upright_rgb(opened)), np.asarray(image))


def test_8_bit_gray_that_was_widened_to_16_comes_back_as_it_was() -> None:
    gray = make_image(60, 40).convert("L")
    widened = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    image = decode_image(encode(widened, "PNG"), max_image_pixels=LIMIT)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(gray.convert("RGB")))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_a_16_bit_image_of_a_program_is_scaled_too(mode: str) -> None:
    data = RAMP.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    image = make_upright_rgb(Image.frombytes(mode, (256, 256), data))
    np.testing.assert_array_equal(np.asarray(image)[..., 0], RAMP >> 8)


def test_12_bit_gray_is_scaled_from_12_bits() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    pairs = values.reshape(-1, 2).astype(np.uint32)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], axis=1)
    entries = [(256, 64), (257, 64), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 64), (279, packed.size)]
    offset = 8 + packed.size
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries)
    content = struct.pack("<2sHI", b"II", 42, offset) + packed.astype(np.uint8).tobytes() + directory + bytes(4)
    image = decode_image(content, max_image_pixels=LIMIT)
    np.testing.assert_array_equal(np.asarray(image)[..., 0], values >> 4)


def test_32_bit_gray_whose_white_is_not_known_is_clipped() -> None:
    image = decode_image(encode(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), max_image_pixels=LIMIT)
    np.testing.assert_array_equal(np.asarray(image)[..., 0], RAMP.clip(0, 255))


QUOTED = [  # what Pillow's own exceptions quote
    pytest.param(b"P2 hunter2", id="PPM, the width"),
    pytest.param(b"P5 2 2 hunter2x", id="PPM, the largest value"),
    pytest.param(b"P2\n2 2\n255\n1 hunter2 3 4", id="PPM, a pixel"),
    pytest.param(b"P1 2 2 hunter2", id="PPM, a bit"),
    pytest.param(b"P2 2 2 9 " + b"hunter2" * 9, id="PPM, a long pixel"),
    pytest.param(b"\x89PNG\r\n\x1a\nhunter2hunter2hunter2", id="PNG, a chunk"),
    pytest.param(b"GIF89ahunter2hunter2hunter2", id="GIF"),
    pytest.param(b"BMhunter2hunter2hunter2hunter2", id="BMP"),
    pytest.param(b"II*\0hunter2hunter2hunter2", id="TIFF"),
    pytest.param(b"\xff\xd8\xffhunter2hunter2hunter2", id="JPEG"),
    pytest.param(b"RIFF\x20\0\0\0WEBPhunter2hunter2hunter2", id="WebP"),
    pytest.param(b"8BPShunter2hunter2hunter2", id="PSD"),
    pytest.param(b"qoifhunter2hunter2hunter2", id="QOI"),
    pytest.param(b"\0\0\0\x18ftypheichunter2hunter2hunter2", id="HEIF"),
    pytest.param(b"\0\0\0\x18ftypavifhunter2hunter2hunter2", id="AVIF"),
    pytest.param(b"hunter2:x:0:0:root:/root:/bin/bash\n", id="another file"),
]


@pytest.mark.parametrize("content", QUOTED)
def test_messages_do_not_quote_the_file(content: bytes) -> None:
    message = str(refuse(content))
    assert "hunter" not in message
    assert message.endswith(".")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_file_is_decoded_and_turned_once(orientation: int) -> None:
    shown = decode_image(rotated(orientation, "PNG"), max_image_pixels=LIMIT)
    decoded = decode_image_with_format(heic(make_image(60, 40), orientation), max_image_pixels=LIMIT)
    assert (decoded.format, decoded.image.size) == ("HEIF", shown.size)
    difference = np.abs(np.asarray(decoded.image).astype(int) - np.asarray(shown))
    assert difference.mean() < 12  # another turn would make it more than 30
    assert "HEIF" not in Image.OPEN  # the program's own Image.open is left as it was


def test_a_huge_heic_is_refused_by_its_header() -> None:
    assert refuse(heic(make_image(60, 40)), max_image_pixels=2399).code == "too_large"


def test_a_heic_without_pillow_heif_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(make_image(60, 40))
    monkeypatch.setattr(formats, "_heif_reader", lambda: None)
    error = refuse(content)
    assert error.code == "unreadable"
    assert "pillow-heif is needed: pip install '.[worker]' in a clone of siglip_ingest" in str(error)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_decoded_image_is_upright_and_not_turned_again(orientation: int) -> None:
    decoded = decode_image_with_format(rotated(orientation), max_image_pixels=LIMIT)
    turned = orientation >= 5
    assert (decoded.width, decoded.height) == ((40, 60) if turned else (60, 40))
    assert decoded.image.size == (decoded.width, decoded.height)
    assert decoded.format == "JPEG"
    assert make_upright_rgb(decoded.image) is decoded.image


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on it
def test_broken_exif_data_do_not_cost_the_image() -> None:
    content = encode(make_image(60, 40), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode_image(content, max_image_pixels=LIMIT).size == (60, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_make_upright_turns_as_make_upright_rgb_does_and_keeps_the_mode(orientation: int) -> None:
    turned = Image.open(io.BytesIO(rotated(orientation))).convert("L")
    upright = make_upright(turned)
    np.testing.assert_array_equal(np.asarray(upright.convert("RGB")), np.asarray(make_upright_rgb(turned)))
    assert upright.mode == "L"
    assert not upright.getexif()


def test_decoding_needs_no_torch() -> None:
    modules = "siglip_ingest.siglip.preprocess.image, siglip_ingest.siglip.tokenizer.loading"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
