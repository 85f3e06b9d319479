"""Settings of the image processor, and arrays of the right kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.preprocess.image import ImageSettings, normalize, resize_image, resize_images
from tests.pictures import picture


def test_settings_survive_the_database() -> None:
    settings = ImageSettings(size=(384, 384), resample=2, image_mean=(0.4, 0.5, 0.6))
    assert ImageSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_steps_that_are_switched_off_do_nothing() -> None:
    settings = ImageSettings.from_dict({"do_rescale": False, "do_normalize": False, "size": 8})
    pixels = resize_images([picture(8, 8)], settings)
    np.testing.assert_array_equal(normalize(pixels, settings), pixels.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.mark.parametrize(
    "values",
    [{"size": {"shortest_edge": 224}}, {"do_resize": False}, {"do_center_crop": True}],
    ids=["shortest_edge", "no_resize", "crop"],
)
def test_a_processor_that_works_in_another_way_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        ImageSettings.from_dict(values)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"resample": 99}', '{"image_mean": [1, 2]}', '{"size": {"height": "x", "width": 1}}']
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "preprocessor_config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        ImageSettings.from_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no preprocessor_config\.json"):
        ImageSettings.from_file(tmp_path / "preprocessor_config.json")


def test_resized_pictures_keep_their_order() -> None:
    settings = ImageSettings(size=(16, 16))
    images = [picture(30, 20, seed) for seed in range(3)]
    together = resize_images(images, settings)
    assert together.shape == (3, 16, 16, 3)
    for row, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(row, resize_image(image, settings))


def test_no_pictures_give_an_empty_array() -> None:
    assert normalize(resize_images([], ImageSettings(size=(16, 16))), ImageSettings()).shape == (0, 3, 16, 16)


def test_normalizing_something_other_than_pixels_says_what_was_got() -> None:
    with pytest.raises(InvalidInputError, match="float32"):
        normalize(np.zeros((1, 8, 8, 3), dtype=np.float32), ImageSettings())  # type: ignore[arg-type]
