"""NaFlex: what doesn't need the reference to be checked."""

from __future__ import annotations

import numpy as np
import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.preprocess.naflex import choose_size, cut_patches, pad_patches


@pytest.mark.parametrize(
    ("height", "width", "chosen"),
    [(480, 640, (224, 288)), (256, 256, (256, 256)), (1, 1, (112, 112)), (1, 5000, (16, 4096)), (5000, 1, (4096, 16))],
    ids=["photograph", "square", "one pixel", "one row", "one column"],
)
def test_a_size_keeps_the_shape_and_uses_the_patches(height: int, width: int, chosen: tuple[int, int]) -> None:
    assert choose_size(height, width, patch_size=16, max_num_patches=256) == chosen


def test_more_patches_give_a_larger_image() -> None:
    small, large = (choose_size(600, 400, patch_size=16, max_num_patches=count) for count in (256, 1024))
    assert small[0] * small[1] < large[0] * large[1] <= 1024 * 16 * 16


@pytest.mark.parametrize(
    "numbers", [(0, 5, 16, 256), (5, 5, 0, 256), (5, 5, 16, 0)], ids=["height", "patch_size", "max_num_patches"]
)
def test_a_number_below_1_is_refused(numbers: tuple[int, int, int, int]) -> None:
    height, width, patch_size, max_num_patches = numbers
    with pytest.raises(InvalidInputError, match="at least 1"):
        choose_size(height, width, patch_size=patch_size, max_num_patches=max_num_patches)


def test_patches_go_row_by_row_with_the_channel_fastest() -> None:
    pixels = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    patches = cut_patches(pixels, patch_size=2)
    assert patches.shape == (6, 12)
    assert patches.dtype == np.uint8
    np.testing.assert_array_equal(patches[0], pixels[:2, :2].ravel())
    np.testing.assert_array_equal(patches[1], pixels[:2, 2:4].ravel())
    np.testing.assert_array_equal(patches[5], pixels[2:, 4:].ravel())


@pytest.mark.parametrize("shape", [(5, 4, 3), (4, 5, 3), (4, 4, 4), (4, 4)])
def test_pixels_that_are_not_made_of_patches_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="multiples of 2"):
        cut_patches(np.zeros(shape, dtype=np.uint8), patch_size=2)


def test_padding_is_zero_and_masked() -> None:
    patches = [np.ones((6, 12), dtype=np.float32), np.ones((2, 12), dtype=np.float32)]
    padded = pad_patches(patches, [(2, 3), (1, 2)], max_num_patches=8)
    assert padded.pixel_values.shape == (2, 8, 12)
    np.testing.assert_array_equal(padded.pixel_values.any(axis=2), padded.pixel_attention_mask)
    assert padded.pixel_attention_mask.sum(axis=1).tolist() == [6, 2]
    assert padded.spatial_shapes.tolist() == [[2, 3], [1, 2]]
    assert padded.spatial_shapes.dtype == np.int64


@pytest.mark.parametrize(
    ("shape", "max_num_patches"), [((2, 2), 8), ((2, 3), 5)], ids=["another shape", "too many patches"]
)
def test_patches_that_do_not_fit_are_refused(shape: tuple[int, int], max_num_patches: int) -> None:
    with pytest.raises(InvalidInputError, match="Image 0 has 6 patches"):
        pad_patches([np.ones((6, 12), dtype=np.float32)], [shape], max_num_patches=max_num_patches)


def test_no_images_cannot_be_padded() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        pad_patches([], [], max_num_patches=8)
