"""Images that a program names: paths, bytes and PIL images, within limits; and files on the web."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.siglip.preprocess.opening import ImageLimits, open_image
from tests.images import encode, heic, make_image

LIMITS = ImageLimits(max_image_bytes=1000, max_image_pixels=100)


@pytest.mark.parametrize(
    ("text", "expected"), [("http://a/b", True), ("HTTPS://a", True), ("file:///a", False), ("a.jpg", False)]
)
def test_is_web_address(text: str, expected: bool) -> None:
    assert is_web_address(text) is expected


def test_open_image_takes_paths_bytes_and_images(tmp_path: Path) -> None:
    image = Image.new("L", (4, 3), 200)
    image.save(tmp_path / "a.png")
    for source in (tmp_path / "a.png", (tmp_path / "a.png").read_bytes(), image):
        opened = open_image(source, LIMITS)
        assert (opened.mode, opened.size, opened.getpixel((0, 0))) == ("RGB", (4, 3), (200, 200, 200))


def test_open_image_turns_an_image_upright() -> None:
    image = Image.new("RGB", (4, 3))
    image.getexif()[0x0112] = 6
    assert open_image(image, LIMITS).size == (3, 4)


def test_open_image_refuses_what_is_none_of_these() -> None:
    with pytest.raises(InvalidInputError, match="not str"):
        open_image("a.png")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="not int"):
        open_image(5)  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="no file"):
        open_image(Path("/nowhere.jpg"))


def test_16_bit_gray_is_scaled_for_a_query_and_clipped_where_asked_to() -> None:
    image = Image.frombytes("I;16", (1, 1), (200 << 8).to_bytes(2, "little"))
    for source in (image, encode(image, "PNG")):
        opened = open_image(source, LIMITS)
        assert opened.getpixel((0, 0)) == (200, 200, 200)
        clipped = open_image(source, LIMITS, clip_16_bit=True)
        assert clipped.getpixel((0, 0)) == (255, 255, 255)


def test_a_heic_file_is_a_query(tmp_path: Path) -> None:
    path = tmp_path / "a.heic"
    path.write_bytes(heic(make_image(60, 40)))
    assert open_image(path).size == (60, 40)


def test_larger_images_than_the_limits_are_refused() -> None:
    content = encode(Image.new("RGB", (11, 10)), "PNG")
    with pytest.raises(ImageError, match="11 x 10 pixels"):
        open_image(content, ImageLimits(max_image_pixels=109))
    assert open_image(content, ImageLimits(max_image_pixels=110)).size == (11, 10)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_image_bytes must be at least 1, not 0"):
        ImageLimits(max_image_bytes=0)
