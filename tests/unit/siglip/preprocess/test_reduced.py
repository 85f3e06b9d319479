"""Large JPEGs decoded at a reduced scale."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.siglip.preprocess.decode import DecodedImage, hold_decoded_image


def _encode(width: int, height: int, image_format: str = "JPEG", *, orientation: int = 1, mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(7)
    small = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    image = small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    exif = Image.Exif()
    exif[274] = orientation
    buffer = io.BytesIO()
    image.save(buffer, image_format, exif=exif)
    return buffer.getvalue()


def _decode(content: bytes, height: int, width: int) -> DecodedImage:
    with hold_decoded_image(content, max_image_pixels=10**9, choose_size=lambda _h, _w: (height, width)) as decoded:
        return decoded


@pytest.mark.parametrize(
    ("width", "height", "scale"),
    [(1792, 1344, 2), (1791, 1344, 2), (895, 4000, 1), (896, 896, 2), (4000, 3000, 4), (8192, 8192, 8), (300, 200, 1)],
)
def test_what_is_decoded_is_at_least_twice_what_the_model_takes(width: int, height: int, scale: int) -> None:
    decoded = _decode(_encode(width, height), 224, 224)
    assert decoded.image.size == (-(-width // scale), -(-height // scale))
    assert (decoded.width, decoded.height) == (width, height)


def test_an_image_on_its_side_is_reduced_as_it_will_stand() -> None:
    decoded = _decode(_encode(1600, 800, orientation=6), 320, 80)  # upright it is 1,600 high and 800 wide
    assert decoded.image.size == (400, 800)
    assert (decoded.width, decoded.height) == (800, 1600)


@pytest.mark.parametrize(("image_format", "mode"), [("PNG", "RGB"), ("WEBP", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L")])
def test_other_kinds_are_decoded_as_before(image_format: str, mode: str) -> None:
    content = _encode(1024, 1024, image_format, mode=mode)
    decoded = _decode(content, 64, 64)
    assert decoded.image.mode == "RGB"
    assert decoded.image.size == ((128, 128) if image_format == "JPEG" else (1024, 1024))
    with hold_decoded_image(content, max_image_pixels=10**9) as exact:
        assert exact.image.size == (1024, 1024)
    pixels, expected = (np.asarray(each.image.resize((64, 64)), dtype=float) for each in (decoded, exact))
    assert np.abs(pixels - expected).mean() < 4


def test_the_budget_holds_the_pixels_that_are_decoded() -> None:
    budget = PixelBudget(10**9)
    content = _encode(2048, 2048)
    with hold_decoded_image(content, max_image_pixels=10**9, budget=budget, choose_size=lambda _h, _w: (128, 128)):
        assert budget.held_pixels == 256 * 256
