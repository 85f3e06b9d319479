"""Decoded images to the arrays that the vision tower takes, as transformers' `SiglipImageProcessorPil` makes them.

An image is squeezed to the model's square with its whole content (no crop, the aspect ratio isn't kept); for NaFlex,
to the size that `naflex.choose_size` finds for it, as `Siglip2ImageProcessorPil` does. Then
pixel_values = (pixel * rescale_factor - image_mean) / image_std. Needs numpy and Pillow only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.preprocess.decode import (
    DecodedImage,
    decode_image,
    decode_image_with_format,
    hold_decoded_image,
    lay_on_white,
    make_upright,
    make_upright_rgb,
)
from siglip_ingest.siglip.preprocess.naflex import PaddedPatches, choose_size, cut_images, pad_patches

PREPROCESSOR_FILE = "preprocessor_config.json"
PROCESSOR_FILE = "processor_config.json"

__all__ = [
    "DecodedImage",
    "ImageSettings",
    "decode_image",
    "decode_image_with_format",
    "hold_decoded_image",
    "lay_on_white",
    "make_naflex_inputs",
    "make_upright",
    "make_upright_rgb",
    "normalize",
    "normalize_patches",
    "read_image_processor",
    "resize_image",
]


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What preprocessor_config.json says. The defaults are those of transformers' `SiglipImageProcessor`.

    Attributes:
        size: Height and width in pixels. NaFlex has no use for it: its size is chosen for each image.
        resample: Pillow's number of a filter: 2 bilinear (SigLIP 2), 3 bicubic (SigLIP).
        rescale_factor: Multiplies a pixel in [0, 255].
        image_mean: Subtracted from each rescaled channel, red first.
        image_std: Divides each channel after that.
        patch_size: NaFlex only: side of a patch in pixels.
        max_num_patches: NaFlex only: most patches of one image.
    """

    size: tuple[int, int] = (224, 224)
    resample: int = Image.Resampling.BICUBIC
    rescale_factor: float = 1 / 255
    image_mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    image_std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    patch_size: int | None = None
    max_num_patches: int | None = None

    @property
    def is_naflex(self) -> bool:
        """Whether the size is chosen by the image's shape."""
        return self.patch_size is not None and self.max_num_patches is not None

    @classmethod
    def from_file(cls, path: Path) -> ImageSettings:
        """Read a checkpoint's preprocessor_config.json, or what `read_image_processor` finds in its stead.

        Raises:
            CheckpointError: If it is missing, isn't JSON, or asks for what `from_dict` refuses.
        """
        try:
            return cls.from_dict(read_image_processor(path))
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} can't be used ({error}). Fetch the checkpoint again.") from error

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageSettings:
        """Take the settings out of a parsed preprocessor_config.json, or of what `to_dict` gave.

        Raises:
            CheckpointError: If they ask for something other than a resize without a crop, to a fixed size or to
                NaFlex's.
            ValueError: If a value is of the wrong kind.
        """
        values = {key: value for key, value in values.items() if value is not None}  # as the reference reads null
        if not values.get("do_resize", True) or values.get("do_center_crop"):
            raise CheckpointError("The image processor must resize without a crop, as SigLIP's do.")
        kind = str(values.get("image_processor_type", ""))
        is_naflex = kind.startswith("Siglip2") or "max_num_patches" in values
        defaults = cls(resample=Image.Resampling.BILINEAR) if is_naflex else cls()
        does_rescale, does_normalize = values.get("do_rescale", True), values.get("do_normalize", True)
        return cls(
            size=defaults.size if is_naflex else _to_size(values.get("size", defaults.size)),
            resample=Image.Resampling(values.get("resample", defaults.resample)),
            rescale_factor=float(values.get("rescale_factor", defaults.rescale_factor)) if does_rescale else 1.0,
            image_mean=_to_rgb_triple(values.get("image_mean", defaults.image_mean) if does_normalize else 0.0),
            image_std=_to_rgb_triple(values.get("image_std", defaults.image_std) if does_normalize else 1.0),
            patch_size=int(values.get("patch_size", 16)) if is_naflex else None,
            max_num_patches=int(values.get("max_num_patches", 256)) if is_naflex else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the settings under preprocessor_config.json's keys, ready for JSON; a size or the two of NaFlex."""
        values: dict[str, Any] = {
            "resample": int(self.resample),
            "rescale_factor": self.rescale_factor,
            "image_mean": list(self.image_mean),
            "image_std": list(self.image_std),
        }
        if self.is_naflex:
            return values | {"patch_size": self.patch_size, "max_num_patches": self.max_num_patches}
        height, width = self.size
        return values | {"size": {"height": height, "width": width}}

    def choose_size(self, height: int, width: int) -> tuple[int, int]:
        """Choose the height and width in pixels to which an image is resized."""
        if self.patch_size is None or self.max_num_patches is None:
            return self.size
        return choose_size(height, width, patch_size=self.patch_size, max_num_patches=self.max_num_patches)


def read_image_processor(path: Path) -> dict[str, Any]:
    """Read preprocessor_config.json, or the same settings in processor_config.json, which newer tools write instead.

    Raises:
        CheckpointError: If there is neither, or it isn't a JSON object.
    """
    joint = path.with_name(PROCESSOR_FILE)
    is_joint = not path.exists() and joint.exists()
    try:
        values = json.loads((joint if is_joint else path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {path.name}.") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be used ({error}). Fetch the checkpoint again.") from error
    where = str(path)
    if is_joint:
        where = f"image_processor in {joint}"
        values = values.get("image_processor") if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise CheckpointError(f"{where} must hold a JSON object, not a {type(values).__name__}.")
    return values


def resize_image(image: Image.Image, settings: ImageSettings) -> NDArray[np.uint8]:
    """Squeeze one image to the model's size.

    Args:
        image: Of any size and mode; turned upright and made RGB if it isn't yet.
        settings: The checkpoint's.

    Returns:
        (height, width, 3) uint8, RGB. For NaFlex, multiples of the patch size that suit the image.
    """
    upright = make_upright_rgb(image)
    if not settings.is_naflex:
        upright = lay_on_white(upright)  # NaFlex's image processor of the reference doesn't
    height, width = settings.choose_size(upright.height, upright.width)
    return np.asarray(upright.resize((width, height), resample=Image.Resampling(settings.resample)))


def normalize(pixels: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.float32]:
    """Turn pixels (N, height, width, 3) uint8 into pixel_values (N, 3, height, width) float32, SigLIP's in [-1, 1]."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise InvalidInputError(f"Pixels must be (N, height, width, 3) uint8, not {pixels.shape} {pixels.dtype}.")
    table = _normalized_values(settings)
    pixel_values = np.empty((pixels.shape[0], 3, *pixels.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        np.take(table[channel], pixels[..., channel], out=pixel_values[:, channel])
    return pixel_values


def normalize_patches(patches: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.float32]:
    """Turn flattened patches (..., patch_size**2 * 3) uint8, channel fastest, into float32 of the same shape."""
    if patches.dtype != np.uint8 or patches.shape[-1] % 3:
        raise InvalidInputError(f"Patches must be (..., 3 * pixels) uint8, not {patches.shape} {patches.dtype}.")
    table = _normalized_values(settings)
    values = np.empty(patches.shape, dtype=np.float32)
    for channel in range(3):
        values[..., channel::3] = table[channel][patches[..., channel::3]]
    return values


def make_naflex_inputs(
    images: Sequence[NDArray[np.uint8]], settings: ImageSettings, *, num_patches: int | None = None
) -> PaddedPatches:
    """Turn resized images into what a NaFlex model takes: normalised patches, padded, with their mask.

    Args:
        images: B >= 1 of them as `resize_image` gives them, (height, width, 3) uint8.
        settings: The checkpoint's.
        num_patches: To which each is padded, and the most that one may have; by default the settings'
            `max_num_patches`.

    Raises:
        InvalidInputError: If the settings aren't NaFlex's, there is no image, or one can't be cut into whole patches
            or has too many.
    """
    if settings.patch_size is None or settings.max_num_patches is None:
        raise InvalidInputError("These image settings have no patch_size and max_num_patches: they are not NaFlex's.")
    patches, shapes = cut_images(images, patch_size=settings.patch_size)
    normalized = [normalize_patches(own, settings) for own in patches]
    return pad_patches(normalized, shapes, max_num_patches=num_patches or settings.max_num_patches)


@lru_cache(maxsize=16)
def _normalized_values(settings: ImageSettings) -> NDArray[np.float32]:
    """Compute what each of the 256 values of a pixel becomes, (3, 256), rounding where the reference rounds."""
    rescaled = (np.arange(256, dtype=np.float64) * settings.rescale_factor).astype(np.float32)
    mean = np.array(settings.image_mean, dtype=np.float32)[:, None]
    std = np.array(settings.image_std, dtype=np.float32)[:, None]
    return ((rescaled - mean) / std).astype(np.float32)


def _to_size(value: object) -> tuple[int, int]:
    """Read `size`, which files hold as one side, as height and width by name, or as a pair."""
    if isinstance(value, int):
        return value, value
    if isinstance(value, Mapping):
        if not value.keys() >= {"height", "width"}:
            raise CheckpointError(f"The image processor's size must have a height and a width, not {dict(value)}.")
        return int(value["height"]), int(value["width"])
    if isinstance(value, Sequence):
        height, width = value
        return int(height), int(width)
    raise CheckpointError(f"The image processor's size must have a height and a width, not {value!r}.")


def _to_rgb_triple(value: float | Sequence[float]) -> tuple[float, float, float]:
    if isinstance(value, int | float):
        return (float(value),) * 3
    red, green, blue = value
    return float(red), float(green), float(blue)
