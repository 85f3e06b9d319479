"""Bytes of files to pictures: the odd kinds, and what is refused."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.errors import ImageError
from siglip_ingest.preprocess.decode import decode_image, decode_image_with_format, make_upright, make_upright_rgb
from tests.pictures import encode, picture, png_header_of, rotated

LIMIT = 1_000_000


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
    assert "begins with" in str(error)


def test_postscript_is_never_run() -> None:
    assert refuse(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").code == "not_an_image"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_a_cut_off_file_is_refused_as_truncated(image_format: str) -> None:
    content = encode(picture(300, 200), image_format)
    error = refuse(content[: len(content) // 2])
    assert error.code == "truncated"
    assert image_format in str(error)


@pytest.mark.parametrize(
    "image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "QOI"]
)
@pytest.mark.parametrize("kept", [3, 10, 20, 40, 90])
def test_a_file_cut_off_in_its_header_is_refused_with_a_sentence(image_format: str, kept: int) -> None:
    error = refuse(encode(picture(300, 200), image_format)[:kept])
    assert error.code in {"truncated", "unreadable", "not_an_image"}
    assert str(error).endswith(".")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_damaged_bytes_give_a_picture_or_an_image_error(image_format: str) -> None:
    content = encode(picture(60, 40), image_format)
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


def test_a_picture_above_pillows_own_limit_is_accepted_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # a warning would fail this test, twice the limit would raise
    content = encode(picture(60, 40), "PNG")
    assert decode_image(content, max_image_pixels=LIMIT).size == (60, 40)


def test_the_limit_on_pixels_counts_the_last_one() -> None:
    content = encode(picture(60, 40), "PNG")
    assert decode_image(content, max_image_pixels=2400).size == (60, 40)
    assert refuse(content, max_image_pixels=2399).code == "too_large"


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_gray_is_clipped_at_white_as_the_reference_clips_it(image_format: str) -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = decode_image(encode(Image.fromarray(values), image_format), max_image_pixels=LIMIT)
    np.testing.assert_array_equal(np.asarray(image)[..., 1], values.clip(0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_decoded_picture_is_upright_and_not_turned_again(orientation: int) -> None:
    decoded = decode_image_with_format(rotated(orientation), max_image_pixels=LIMIT)
    turned = orientation >= 5
    assert (decoded.width, decoded.height) == ((40, 60) if turned else (60, 40))
    assert decoded.image.size == (decoded.width, decoded.height)
    assert decoded.format == "JPEG"
    assert make_upright_rgb(decoded.image) is decoded.image


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on it
def test_broken_exif_data_do_not_cost_the_picture() -> None:
    content = encode(picture(60, 40), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage")
    assert decode_image(content, max_image_pixels=LIMIT).size == (60, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_make_upright_turns_as_make_upright_rgb_does_and_keeps_the_mode(orientation: int) -> None:
    turned = Image.open(io.BytesIO(rotated(orientation))).convert("L")
    upright = make_upright(turned)
    np.testing.assert_array_equal(np.asarray(upright.convert("RGB")), np.asarray(make_upright_rgb(turned)))
    assert upright.mode == "L"
    assert not upright.getexif()


def test_decoding_needs_no_torch() -> None:
    code = "import sys, siglip_ingest.preprocess.image, siglip_ingest.preprocess.text; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
