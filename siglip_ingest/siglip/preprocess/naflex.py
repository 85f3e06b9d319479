"""Images of every shape to patches: SigLIP 2's NaFlex keeps the aspect ratio and lets the number of patches vary.

Tschannen et al. 2025, "SigLIP 2" (arXiv:2502.14786), section 2.4.2; sizes equal those of transformers'
`Siglip2ImageProcessor`. Needs numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import InvalidInputError

# The scale is searched between these two until they are this close: part of the definition, for what comes out of it
# is not always the largest size that would fit. A tiny image is never enlarged more than a hundred times.
SMALLEST_SCALE = 1e-6
LARGEST_SCALE = 100.0
SCALE_TOLERANCE = 1e-5

Pixel = TypeVar("Pixel", bound=np.generic)


class PaddedPatches(NamedTuple):
    """A batch of images as the vision tower takes it, B of them with P patches of D = patch_size**2 * 3 numbers.

    Attributes:
        pixel_values: (B, P, D), zeros in the places of padding; the dtype of the patches.
        pixel_attention_mask: (B, P) int32, 1 for a patch and 0 for padding.
        spatial_shapes: (B, 2) int64, rows and columns of patches of each image.
    """

    pixel_values: NDArray[Any]
    pixel_attention_mask: NDArray[np.int32]
    spatial_shapes: NDArray[np.int64]


@lru_cache(maxsize=4096)
def choose_size(height: int, width: int, *, patch_size: int, max_num_patches: int) -> tuple[int, int]:
    """Choose the size to which an image is resized: as many patches as are allowed, in nearly its own aspect ratio.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        patch_size: Side of a patch in pixels.
        max_num_patches: Most patches that an image may have.

    Returns:
        Height and width in pixels, both multiples of `patch_size` and at least that.

    Raises:
        InvalidInputError: If an argument isn't positive.
    """
    if min(height, width, patch_size, max_num_patches) < 1:
        raise InvalidInputError(
            f"An image of {height} x {width} pixels can't be cut into at most {max_num_patches} patches of "
            f"{patch_size} pixels: each number must be at least 1."
        )

    def count_patches(scale: float) -> tuple[int, int]:
        # Rounded in this order, as the reference rounds: another order gives other sizes at the edges.
        return max(1, math.ceil(height * scale / patch_size)), max(1, math.ceil(width * scale / patch_size))

    fitting, too_large = SMALLEST_SCALE, LARGEST_SCALE
    while too_large - fitting >= SCALE_TOLERANCE:
        scale = (fitting + too_large) / 2
        rows, columns = count_patches(scale)
        if rows * columns <= max_num_patches:
            fitting = scale
        else:
            too_large = scale
    rows, columns = count_patches(fitting)
    return rows * patch_size, columns * patch_size


def cut_patches(pixels: NDArray[Pixel], *, patch_size: int) -> NDArray[Pixel]:
    """Cut an image into patches, row by row; each becomes one row of numbers.

    Args:
        pixels: (height, width, 3), both sides multiples of `patch_size`.
        patch_size: Side of a patch in pixels.

    Returns:
        (rows * columns, patch_size * patch_size * 3) of the same dtype; inside a patch the row of the pixel turns
        slowest and the channel fastest.

    Raises:
        InvalidInputError: If the image has another shape.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] % patch_size or pixels.shape[1] % patch_size:
        raise InvalidInputError(
            f"Pixels must be (height, width, 3) with sides that are multiples of {patch_size}, not {pixels.shape}."
        )
    rows, columns = pixels.shape[0] // patch_size, pixels.shape[1] // patch_size
    grid = pixels.reshape(rows, patch_size, columns, patch_size, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * columns, patch_size * patch_size * 3)


def cut_images(
    images: Sequence[NDArray[Pixel]], *, patch_size: int
) -> tuple[list[NDArray[Pixel]], list[tuple[int, int]]]:
    """Cut B images into patches; returns each one's patches, as `cut_patches` gives them, and its rows and columns.

    Raises:
        InvalidInputError: If an image can't be cut into whole patches.
    """
    patches = [cut_patches(image, patch_size=patch_size) for image in images]
    return patches, [(image.shape[0] // patch_size, image.shape[1] // patch_size) for image in images]


def pad_patches(
    patches: Sequence[NDArray[Any]], spatial_shapes: Sequence[tuple[int, int]], *, max_num_patches: int
) -> PaddedPatches:
    """Put the patches of B >= 1 images into one array, with zeros where an image has fewer than the most.

    Args:
        patches: For each image (rows * columns, D), all of one dtype.
        spatial_shapes: For each image its rows and columns of patches.
        max_num_patches: The P of the result.

    Raises:
        InvalidInputError: If there is no image, or one doesn't have rows * columns <= max_num_patches patches.
    """
    if not patches:
        raise InvalidInputError("There must be at least one image to pad.")
    pixel_values = np.zeros((len(patches), max_num_patches, patches[0].shape[1]), dtype=patches[0].dtype)
    mask = np.zeros((len(patches), max_num_patches), dtype=np.int32)
    for index, (rows_of_numbers, (rows, columns)) in enumerate(zip(patches, spatial_shapes, strict=True)):
        count = len(rows_of_numbers)
        if count != rows * columns or count > max_num_patches:
            raise InvalidInputError(
                f"Image {index} has {count} patches, not {rows} x {columns} and at most {max_num_patches}."
            )
        pixel_values[index, :count] = rows_of_numbers
        mask[index, :count] = 1
    return PaddedPatches(pixel_values, mask, np.array(spatial_shapes, dtype=np.int64).reshape(-1, 2))
