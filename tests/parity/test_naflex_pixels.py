"""NaFlex: sizes, patches and masks, from a file's bytes on."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.siglip2.image_processing_pil_siglip2 import (
    Siglip2ImageProcessorPil,
    get_image_size_for_max_num_patches,
)

from siglip_ingest.siglip.preprocess.image import ImageSettings, decode_image, make_naflex_inputs, resize_image
from siglip_ingest.siglip.preprocess.naflex import choose_size
from tests.images import FILES, make_image
from tests.parity.pairs import optional_data

PIXEL_TOLERANCE = 1e-6
SIZES = [
    (1, 1), (1, 5000), (5000, 1), (2, 3), (15, 17), (16, 16), (256, 256), (257, 255), (224, 1024), (1024, 224),
    (640, 480), (333, 500), (1000, 1001), (4000, 10), (9, 4096),
]  # fmt: skip


def assert_same_inputs(images: list[Image.Image], values: dict[str, object]) -> None:
    settings = ImageSettings.from_dict({"image_processor_type": "Siglip2ImageProcessor", **values})
    ours = make_naflex_inputs([resize_image(image, settings) for image in images], settings)
    reference = Siglip2ImageProcessorPil(**values)(images, return_tensors="np")
    np.testing.assert_array_equal(ours.spatial_shapes, reference["spatial_shapes"])
    np.testing.assert_array_equal(ours.pixel_attention_mask, reference["pixel_attention_mask"])
    assert ours.pixel_values.dtype == np.float32
    np.testing.assert_allclose(ours.pixel_values, reference["pixel_values"], rtol=0, atol=PIXEL_TOLERANCE)


@pytest.mark.parametrize("max_num_patches", [1, 7, 64, 256, 576, 1024])
@pytest.mark.parametrize("patch_size", [14, 16])
def test_chosen_sizes_equal_the_references(patch_size: int, max_num_patches: int) -> None:
    draw = random.Random(patch_size * max_num_patches)
    drawn = [(int(2 ** draw.uniform(0, 14)), int(2 ** draw.uniform(0, 14))) for _ in range(700)]
    for height, width in SIZES + drawn:
        ours = choose_size(height, width, patch_size=patch_size, max_num_patches=max_num_patches)
        assert ours == get_image_size_for_max_num_patches(height, width, patch_size, max_num_patches), (height, width)


@given(
    height=st.integers(1, 70_000),
    width=st.integers(1, 70_000),
    patch_size=st.sampled_from([8, 14, 16, 32]),
    max_num_patches=st.integers(1, 2000),
)
def test_any_chosen_size_equals_the_references(height: int, width: int, patch_size: int, max_num_patches: int) -> None:
    ours = choose_size(height, width, patch_size=patch_size, max_num_patches=max_num_patches)
    assert ours == get_image_size_for_max_num_patches(height, width, patch_size, max_num_patches)


@pytest.mark.parametrize("max_num_patches", [256, 1024])
@pytest.mark.parametrize(("width", "height"), SIZES, ids=str)
def test_patches_equal_the_references(width: int, height: int, max_num_patches: int) -> None:
    assert_same_inputs([make_image(width, height)], {"max_num_patches": max_num_patches})


def test_a_mixed_batch_equals_the_references() -> None:
    assert_same_inputs([make_image(width, height, seed=width) for width, height in SIZES[:8]], {"max_num_patches": 64})


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"resample": 3},
        {"patch_size": 14},
        {"image_mean": [0.48, 0.45, 0.40], "image_std": [0.26, 0.26, 0.27], "rescale_factor": 1 / 127.5},
    ],
    ids=["defaults", "bicubic", "patches of 14", "other means"],
)
def test_patches_under_other_settings_equal_the_references(values: dict[str, object]) -> None:
    assert_same_inputs([make_image(123, 77), make_image(50, 60)], values)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # the reference's own
@pytest.mark.parametrize("name", FILES)
def test_patches_of_a_file_equal_the_references(name: str) -> None:
    content = FILES[name]()
    settings = ImageSettings.from_dict({"image_processor_type": "Siglip2ImageProcessorFast"})
    ours = make_naflex_inputs(
        [resize_image(decode_image(content, max_image_pixels=10**6, clip_16_bit=True), settings)], settings
    )
    with Image.open(io.BytesIO(content)) as opened:
        reference = Siglip2ImageProcessorPil()(load_image(opened), return_tensors="np")
    np.testing.assert_array_equal(ours.spatial_shapes, reference["spatial_shapes"])
    np.testing.assert_allclose(ours.pixel_values, reference["pixel_values"], rtol=0, atol=PIXEL_TOLERANCE)


@pytest.mark.parametrize("name", ["circle_224x224", "circle_224x1024", "circle_1024x1024"])
def test_patches_of_the_circles_equal_the_references(name: str) -> None:
    content = optional_data(f"images/naflex_circles/{name}.png").read_bytes()
    assert_same_inputs([decode_image(content, max_image_pixels=10**7)], {})
