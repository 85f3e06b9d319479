"""Decoded pictures to the arrays that the vision tower takes, as transformers' `SiglipImageProcessorPil` makes them.

A picture is squeezed to the model's square with its whole content (no crop, the aspect ratio isn't kept), then
pixel_values = (pixel * rescale_factor - image_mean) / image_std. Needs numpy and Pillow only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.preprocess.decode import (
    DecodedImage,
    decode_image,
    decode_image_with_format,
    make_upright,
    make_upright_rgb,
)

PREPROCESSOR_FILE = "preprocessor_config.json"

__all__ = [
    "DecodedImage",
    "ImageSettings",
    "decode_image",
    "decode_image_with_format",
    "make_upright",
    "make_upright_rgb",
    "normalize",
    "resize_image",
    "resize_images",
]


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What preprocessor_config.json says. The defaults are those of transformers' `SiglipImageProcessor`.

    Attributes:
        size: Height and width in pixels.
        resample: Pillow's number of a filter: 2 bilinear (SigLIP 2), 3 bicubic (SigLIP).
        rescale_factor: Multiplies a pixel in [0, 255].
        image_mean: Subtracted from each rescaled channel, red first.
        image_std: Divides each channel after that.
    """

    size: tuple[int, int] = (224, 224)
    resample: int = Image.Resampling.BICUBIC
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def from_file(cls, path: Path) -> ImageSettings:
        """Read a checkpoint's preprocessor_config.json.

        Raises:
            CheckpointError: If it is missing, isn't JSON, or asks for something other than a resize to a fixed size.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(values, dict):
                raise CheckpointError(f"{path} must hold a JSON object, not a {type(values).__name__}.")
            return cls.from_dict(values)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {path.name}.") from error
        except (OSError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} can't be used ({error}). Fetch the checkpoint again.") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageSettings:
        """Take the settings out of a parsed preprocessor_config.json, or of what `to_dict` gave.

        Raises:
            CheckpointError: If they ask for something other than a resize to a fixed size.
            ValueError: If a value is of the wrong kind.
        """
        size = values.get("size", cls().size)
        if isinstance(size, int):
            size = (size, size)
        elif isinstance(size, Mapping):
            if not size.keys() >= {"height", "width"}:
                raise CheckpointError(f"The image processor's size must have a height and a width, not {dict(size)}.")
            size = (size["height"], size["width"])
        if not values.get("do_resize", True) or values.get("do_center_crop"):
            raise CheckpointError("The image processor must resize without a crop, as SigLIP's do.")
        defaults = cls()
        does_rescale, does_normalize = values.get("do_rescale", True), values.get("do_normalize", True)
        height, width = size
        return cls(
            size=(int(height), int(width)),
            resample=Image.Resampling(values.get("resample", defaults.resample)),
            rescale_factor=float(values.get("rescale_factor", defaults.rescale_factor)) if does_rescale else 1.0,
            image_mean=_to_rgb_triple(values.get("image_mean", defaults.image_mean) if does_normalize else 0.0),
            image_std=_to_rgb_triple(values.get("image_std", defaults.image_std) if does_normalize else 1.0),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the settings under preprocessor_config.json's keys, ready for JSON."""
        height, width = self.size
        return asdict(self) | {
            "size": {"height": height, "width": width},
            "resample": int(self.resample),
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
        }


def resize_image(image: Image.Image, settings: ImageSettings) -> NDArray[np.uint8]:
    """Squeeze one picture to the model's size.

    Args:
        image: Of any size and mode; turned upright and made RGB if it isn't yet.
        settings: The checkpoint's.

    Returns:
        (height, width, 3) uint8, RGB.
    """
    height, width = settings.size
    return np.asarray(make_upright_rgb(image).resize((width, height), resample=Image.Resampling(settings.resample)))


def resize_images(images: Sequence[Image.Image], settings: ImageSettings) -> NDArray[np.uint8]:
    """Squeeze N pictures to the model's size: (N, height, width, 3) uint8, RGB, in the same order."""
    resized = np.empty((len(images), *settings.size, 3), dtype=np.uint8)
    for row, image in zip(resized, images, strict=True):
        row[...] = resize_image(image, settings)
    return resized


def normalize(pixels: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.float32]:
    """Turn pixels (N, height, width, 3) uint8 into pixel_values (N, 3, height, width) float32, SigLIP's in [-1, 1]."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise InvalidInputError(f"Pixels must be (N, height, width, 3) uint8, not {pixels.shape} {pixels.dtype}.")
    table = _normalized_values(settings)
    pixel_values = np.empty((pixels.shape[0], 3, *pixels.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        np.take(table[channel], pixels[..., channel], out=pixel_values[:, channel])
    return pixel_values


@lru_cache(maxsize=16)
def _normalized_values(settings: ImageSettings) -> NDArray[np.float32]:
    """Compute what each of the 256 values of a pixel becomes, (3, 256), rounding where the reference rounds."""
    rescaled = (np.arange(256, dtype=np.float64) * settings.rescale_factor).astype(np.float32)
    mean = np.array(settings.image_mean, dtype=np.float32)[:, None]
    std = np.array(settings.image_std, dtype=np.float32)[:, None]
    return ((rescaled - mean) / std).astype(np.float32)


def _to_rgb_triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return (float(value),) * 3
    red, green, blue = value
    return float(red), float(green), float(blue)
