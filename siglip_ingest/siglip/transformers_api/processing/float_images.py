"""Resizes and normalises images that come as floating-point arrays, to the reference's numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.preprocess.image import ImageSettings, resize_image


def check_scale(pixels: NDArray[np.floating[Any]], settings: ImageSettings) -> None:
    """Check that what is rescaled already isn't rescaled once more, which would leave nearly black images.

    Raises:
        InvalidInputError: If fractions from 0 to 1 are to be rescaled.
    """
    is_fraction = pixels.size and pixels.min() >= 0 and pixels.max() <= 1 and (pixels % 1).any()
    if is_fraction and settings.rescale_factor != 1:
        raise InvalidInputError(
            "This image's numbers lie in [0, 1]: they are rescaled already. Pass do_rescale=False, or uint8."
        )


def resize_floats(pixels: NDArray[np.floating[Any]], settings: ImageSettings) -> NDArray[Any]:
    """Squeeze an image to the model's size. Pillow resizes bytes: what lies between two of them is lost.

    Args:
        pixels: (height, width, 3), in [0, 1]; or whole numbers from 0 to 255.
        settings: Say which size.

    Returns:
        (height, width, 3): float32 in [0, 1], or uint8 where there were whole numbers.

    Raises:
        InvalidInputError: If a value lies outside.
    """
    low, high = (float(pixels.min()), float(pixels.max())) if pixels.size else (0.0, 0.0)
    is_whole = low >= 0 and high <= 255 and np.allclose(pixels, pixels.astype(np.int64))
    if not is_whole and not (low >= 0 and high <= 1):
        raise InvalidInputError(
            "An image of floating point to be resized has values in [0, 1], or whole ones from 0 to 255, unlike "
            f"[{low:g}, {high:g}]. Resize it before, and pass do_resize=False."
        )
    scaled = pixels if is_whole else (pixels.astype(np.float64) * 255).astype(np.float32)
    resized = resize_image(Image.fromarray(scaled.astype(np.uint8)), settings)
    return resized if is_whole else (resized.astype(np.float64) * (1 / 255)).astype(np.float32)


def normalize_floats(pixels: NDArray[np.floating[Any]], settings: ImageSettings) -> NDArray[np.floating[Any]]:
    """Rescale, which makes float32, and normalise an image (height, width, 3), rounding where the reference rounds."""
    if settings.rescale_factor != 1:
        pixels = (pixels.astype(np.float64) * settings.rescale_factor).astype(np.float32)
    mean = np.array(settings.image_mean, dtype=pixels.dtype)
    normalized: NDArray[np.floating[Any]] = (pixels - mean) / np.array(settings.image_std, dtype=pixels.dtype)
    return normalized
