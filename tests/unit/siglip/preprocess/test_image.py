"""Settings of the image processor, and arrays of the right kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.preprocess.image import (
    ImageSettings,
    make_naflex_inputs,
    normalize,
    normalize_patches,
    resize_image,
)
from siglip_ingest.siglip.preprocess.naflex import cut_patches
from tests.images import make_image


def test_settings_survive_the_database() -> None:
    settings = ImageSettings(size=(384, 384), resample=2, image_mean=(0.4, 0.5, 0.6))
    assert ImageSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_naflex_settings_survive_the_database() -> None:
    settings = ImageSettings(resample=2, patch_size=14, max_num_patches=1024)
    assert settings.is_naflex
    assert "size" not in settings.to_dict()
    assert ImageSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


@pytest.mark.parametrize("kind", ["Siglip2ImageProcessor", "Siglip2ImageProcessorFast"])
def test_a_naflex_file_may_say_nothing_but_its_kind(kind: str) -> None:
    settings = ImageSettings.from_dict({"image_processor_type": kind, "size": None, "do_resize": None})
    assert settings == ImageSettings(resample=2, patch_size=16, max_num_patches=256)


def test_a_fixed_file_is_not_naflex_for_saying_a_patch_size() -> None:
    assert not ImageSettings.from_dict({"image_processor_type": "SiglipImageProcessor", "patch_size": 16}).is_naflex


def test_naflex_images_are_resized_each_to_its_own_size() -> None:
    settings = ImageSettings(patch_size=8, max_num_patches=16)
    assert resize_image(make_image(300, 100), settings).shape == (16, 48, 3)
    assert resize_image(make_image(100, 300), settings).shape == (48, 16, 3)


def test_naflex_inputs_need_naflex_settings() -> None:
    with pytest.raises(InvalidInputError, match="not NaFlex's"):
        make_naflex_inputs([np.zeros((16, 16, 3), np.uint8)], ImageSettings())


def test_naflex_inputs_are_padded_to_the_settings_most_or_to_what_is_asked_for() -> None:
    settings = ImageSettings(patch_size=8, max_num_patches=16)
    images = [resize_image(make_image(width, height), settings) for width, height in ((300, 100), (8, 500))]
    whole, short = make_naflex_inputs(images, settings), make_naflex_inputs(images, settings, num_patches=16)
    assert whole.pixel_values.shape == (2, 16, 192)
    assert whole.spatial_shapes.tolist() == [[2, 6], [16, 1]]
    assert whole.pixel_attention_mask.sum(axis=1).tolist() == [12, 16]
    shorter = make_naflex_inputs(images[:1], settings, num_patches=12)
    np.testing.assert_array_equal(shorter.pixel_values[0], whole.pixel_values[0, :12])
    np.testing.assert_array_equal(short.pixel_values, whole.pixel_values)
    with pytest.raises(InvalidInputError, match="at most 15"):
        make_naflex_inputs(images, settings, num_patches=15)


def test_patches_are_normalized_as_images_are() -> None:
    settings = ImageSettings(size=(16, 24), image_mean=(0.1, 0.2, 0.3), image_std=(0.4, 0.5, 0.6))
    pixels = resize_image(make_image(30, 20), settings)
    patches = normalize_patches(cut_patches(pixels, patch_size=8), settings)
    whole = normalize(pixels[None], settings)[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(patches, cut_patches(np.ascontiguousarray(whole), patch_size=8))
    with pytest.raises(InvalidInputError, match="float32"):
        normalize_patches(patches, settings)  # type: ignore[arg-type]


def test_one_transparent_color_becomes_white() -> None:
    image = Image.new("RGB", (4, 4), (10, 20, 30))
    image.putpixel((0, 0), (10, 20, 31))
    image.info["transparency"] = (10, 20, 30)
    pixels = resize_image(image, ImageSettings(size=(4, 4)))
    assert pixels[0, 0].tolist() == [10, 20, 31]
    assert (pixels.reshape(16, 3)[1:] == 255).all()


def test_steps_that_are_switched_off_do_nothing() -> None:
    settings = ImageSettings.from_dict({"do_rescale": False, "do_normalize": False, "size": 8})
    pixels = resize_image(make_image(8, 8), settings)[None]
    np.testing.assert_array_equal(normalize(pixels, settings), pixels.transpose(0, 3, 1, 2).astype(np.float32))


@pytest.mark.parametrize(
    "values",
    [{"size": {"shortest_edge": 224}}, {"size": 2.5}, {"do_resize": False}, {"do_center_crop": True}],
    ids=["shortest_edge", "no size", "no_resize", "crop"],
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


def test_the_joint_file_of_newer_tools_serves_where_there_is_no_other(tmp_path: Path) -> None:
    values = {
        "image_processor": {"image_processor_type": "SiglipImageProcessor", "resample": 2},
        "processor_class": "X",
    }
    (tmp_path / "processor_config.json").write_text(json.dumps(values), encoding="utf-8")
    assert ImageSettings.from_file(tmp_path / "preprocessor_config.json").resample == 2
    (tmp_path / "preprocessor_config.json").write_text('{"resample": 3}', encoding="utf-8")
    assert ImageSettings.from_file(tmp_path / "preprocessor_config.json").resample == 3


def test_a_joint_file_without_an_image_processor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match="image_processor"):
        ImageSettings.from_file(tmp_path / "preprocessor_config.json")


def test_no_images_give_an_empty_array() -> None:
    assert normalize(np.empty((0, 16, 16, 3), dtype=np.uint8), ImageSettings()).shape == (0, 3, 16, 16)


def test_normalizing_something_other_than_pixels_says_what_was_got() -> None:
    with pytest.raises(InvalidInputError, match="float32"):
        normalize(np.zeros((1, 8, 8, 3), dtype=np.float32), ImageSettings())  # type: ignore[arg-type]
