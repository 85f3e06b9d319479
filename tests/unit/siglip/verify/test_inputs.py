from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.errors import NotFoundError
from siglip_ingest.siglip.verify.inputs import CIRCLES, SHAPES, draw_image, draw_test_card, open_photograph
from tests.parity.pairs import optional_data
from tests.workers.helpers import write_image


def test_a_photograph_is_looked_for_in_the_folder_first(tmp_path: Path) -> None:
    path = write_image(tmp_path / "000000039769.png", 1)
    opened = open_photograph(path.stem, "http://127.0.0.1:1/", folder=tmp_path, may_fetch=False)
    assert np.array_equal(np.asarray(opened), np.asarray(Image.open(path)))
    with pytest.raises(NotFoundError, match=r"other\.jpg isn't here; get it from http.*--images"):
        open_photograph("other", "http://127.0.0.1:1/", folder=None, may_fetch=False)


@pytest.mark.parametrize(
    "name", [*(f"shapes/{name}.ppm" for name in SHAPES), *(f"naflex_circles/{n}.png" for n in CIRCLES)]
)
def test_drawn_images_are_those_that_the_numbers_are_of(name: str) -> None:
    expected = np.asarray(Image.open(optional_data(f"images/{name}")))
    assert np.array_equal(np.asarray(draw_image(Path(name).stem)), expected)


def test_the_test_card_stays_as_it_is() -> None:
    """Figures that databases keep are of these pixels."""
    pixels = np.asarray(draw_test_card())
    assert (pixels.shape, pixels.dtype) == ((200, 300, 3), np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest().startswith("897db19658fa72b4")
