"""Image processors of the transformers API; `siglip_ingest.siglip.preprocess` makes the pixels."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.preprocess.image import (
    PREPROCESSOR_FILE,
    ImageSettings,
    normalize,
    normalize_patches,
    read_image_processor,
    resize_image,
)
from siglip_ingest.siglip.preprocess.naflex import cut_patches, pad_patches
from siglip_ingest.siglip.transformers_api.folders import Name, drop_save_options, find_folder, write_json
from siglip_ingest.siglip.transformers_api.processing.batches import BatchFeature
from siglip_ingest.siglip.transformers_api.processing.float_images import check_scale, normalize_floats, resize_floats
from siglip_ingest.siglip.transformers_api.processing.images import load_image, make_rgb, read_array

if TYPE_CHECKING:
    from siglip_ingest.siglip.transformers_api.models.placement import Device

ImageInput = Any  # an image or a list of them: PIL image, path, URL, array or tensor; see `SiglipImageProcessor`


class SiglipImageProcessor:
    """Images to pixel_values, resized to one size with their whole content.

    Each setting is an attribute, and an argument of a call where only that call should differ. An image is a PIL
    image, whose EXIF orientation isn't looked at, as in transformers; or a path, a URL or the bytes of a file, which is
    turned upright; or an array or tensor, (height, width, 3) or (3, height, width), of uint8; or of floating point,
    from 0 to 1 with `do_rescale=False`.
    """

    image_processor_type: ClassVar[str] = "SiglipImageProcessor"
    model_input_names: ClassVar[list[str]] = ["pixel_values"]
    defaults: ClassVar[dict[str, Any]] = {
        "do_resize": True,
        "size": {"height": 224, "width": 224},
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": True,
    }

    def __init__(self, **settings: Any) -> None:
        """Take settings, named as in preprocessor_config.json; the others have their defaults.

        Raises:
            InvalidInputError: If there is no such setting.
            CheckpointError: If one can't be used.
        """
        if unknown := settings.keys() - self.defaults.keys():
            raise InvalidInputError(f"{type(self).__name__} has no setting {min(unknown)!r}.")
        for name, default in self.defaults.items():
            setattr(self, name, copy.deepcopy(default if settings.get(name) is None else settings[name]))
        self._read_settings({})

    @classmethod
    def from_pretrained(cls, name: Name, *, revision: str | None = None, **settings: Any) -> Self:
        """Read a checkpoint's preprocessor_config.json; `settings` go before what it says.

        Raises:
            CheckpointError: If there is no such checkpoint or file, or it can't be used.
        """
        values = read_image_processor(find_folder(name, revision) / PREPROCESSOR_FILE)
        return cls.from_dict(values | {key: value for key, value in settings.items() if key != "use_fast"})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take the settings out of a parsed preprocessor_config.json; other keys are left alone."""
        return cls(**{name: value for name, value in values.items() if name in cls.defaults})

    def to_dict(self) -> dict[str, Any]:
        """Give the content of a preprocessor_config.json."""
        settings = {name: getattr(self, name) for name in self.defaults}
        return {"image_processor_type": self.image_processor_type} | settings

    def save_pretrained(self, save_directory: Name, **others: Any) -> None:
        """Write preprocessor_config.json into a folder, which is made where it doesn't exist; `others` go into it."""
        others = drop_save_options(others)
        write_json(Path(save_directory) / PREPROCESSOR_FILE, self.to_dict() | others)

    def __call__(self, images: ImageInput, *, return_tensors: str | None = None, **settings: Any) -> BatchFeature:
        """Prepare one image or a list of them; see `preprocess`."""
        return self.preprocess(images, return_tensors=return_tensors, **settings)

    def preprocess(
        self,
        images: ImageInput,
        *,
        return_tensors: str | None = None,
        data_format: str | None = None,
        input_data_format: str | None = None,
        device: Device | None = None,
        **settings: Any,
    ) -> BatchFeature:
        """Prepare one image or a list of them.

        Args:
            images: See the class.
            return_tensors: "pt", "np" or None, which gives a list of arrays.
            data_format: Of the result: "channels_first", as models take it.
            input_data_format: Of arrays, where their shape doesn't tell: "channels_first" or "channels_last".
            device: Where the tensors of "pt" go.
            settings: For this call only.

        Returns:
            `pixel_values` (B, 3, height, width) float32; other floats as they are where nothing rescales or resizes.

        Raises:
            InvalidInputError: If there is no such setting, or something isn't an image.
            ImageError: If an image can't be read.
        """
        if getattr(data_format, "value", data_format) not in {None, "channels_first"}:
            raise InvalidInputError(f"data_format must be channels_first, as models take pixels, not {data_format!r}.")
        chosen = self._read_settings(settings)
        pixels = [self._resize(image, chosen, settings, input_data_format) for image in list_images(images)]
        batch = BatchFeature(self._arrange(pixels, chosen), return_tensors)
        return batch if device is None else batch.to(device=device)

    def _arrange(self, pixels: Sequence[NDArray[Any]], chosen: ImageSettings) -> dict[str, list[NDArray[Any]]]:
        """Normalise images, (height, width, 3) each, and give them as the model takes them."""
        return {
            "pixel_values": [
                normalize(one[None], chosen)[0]
                if one.dtype == np.uint8
                else normalize_floats(one, chosen).transpose(2, 0, 1)
                for one in pixels
            ]
        }

    def _read_settings(self, changes: Mapping[str, Any]) -> ImageSettings:
        """Give what `siglip_ingest.siglip.preprocess` takes.

        Raises:
            InvalidInputError: If there is no such setting.
            CheckpointError: If one can't be used.
        """
        if unknown := changes.keys() - self.defaults.keys():
            raise InvalidInputError(f"{type(self).__name__} has no setting {min(unknown)!r}.")
        values = self.to_dict() | {name: value for name, value in changes.items() if value is not None}
        try:
            return ImageSettings.from_dict(values | {"do_resize": True})  # `_resize` leaves out what isn't wanted
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"These image settings can't be used ({error}): {values}.") from error

    def _resize(
        self, image: Any, chosen: ImageSettings, changes: Mapping[str, Any], data_format: str | None
    ) -> NDArray[Any]:
        """Make an image RGB, and of the model's size where that is wanted: (height, width, 3) uint8, or floats."""
        does_resize = self.do_resize if changes.get("do_resize") is None else changes["do_resize"]
        if not isinstance(image, Image.Image):
            pixels = read_array(image, data_format)
            if pixels.dtype != np.uint8:
                check_scale(pixels, chosen)
                return resize_floats(pixels, chosen) if does_resize else pixels
            image = Image.fromarray(pixels)
        rgb = make_rgb(image)
        return resize_image(rgb, chosen) if does_resize else np.asarray(rgb)

    def __getattr__(self, name: str) -> Any:  # for mypy: settings are set from `defaults`
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.to_dict()})"


class Siglip2ImageProcessor(SiglipImageProcessor):
    """Images to NaFlex patches: resized in nearly their own aspect ratio, cut, and padded to `max_num_patches`.

    A call gives `pixel_values` (B, max_num_patches, 3 * patch_size**2) float32, `pixel_attention_mask`
    (B, max_num_patches) int32, 1 for a patch and 0 for padding, and `spatial_shapes` (B, 2) int64, rows and columns of
    patches. `max_num_patches` may differ from call to call.
    """

    image_processor_type = "Siglip2ImageProcessor"
    model_input_names: ClassVar[list[str]] = ["pixel_values", "pixel_attention_mask", "spatial_shapes"]
    defaults: ClassVar[dict[str, Any]] = {
        name: value for name, value in SiglipImageProcessor.defaults.items() if name != "size"
    } | {"resample": 2, "patch_size": 16, "max_num_patches": 256}

    def _arrange(self, pixels: Sequence[NDArray[Any]], chosen: ImageSettings) -> dict[str, list[NDArray[Any]]]:
        if chosen.patch_size is None or chosen.max_num_patches is None:
            raise InvalidInputError("NaFlex needs a patch_size and a max_num_patches.")
        side = chosen.patch_size
        patches = [
            normalize_patches(cut_patches(one, patch_size=side), chosen)
            if one.dtype == np.uint8
            else cut_patches(normalize_floats(one, chosen), patch_size=side)
            for one in pixels
        ]
        shapes = [(one.shape[0] // side, one.shape[1] // side) for one in pixels]
        padded = pad_patches(patches, shapes, max_num_patches=chosen.max_num_patches)
        return {name: list(values) for name, values in padded._asdict().items()}


# transformers has several implementations of each; here there is one, whose pixels are those of its `Pil`.
SiglipImageProcessorFast = SiglipImageProcessorPil = SiglipImageProcessor
Siglip2ImageProcessorFast = Siglip2ImageProcessorPil = Siglip2ImageProcessor


def list_images(images: ImageInput) -> list[Any]:
    """Give one image or a list of them, lists inside included, as PIL images or arrays.

    Raises:
        InvalidInputError: If there is none, or something isn't an image.
        ImageError: If a path or URL can't be read.
    """
    if isinstance(images, str | bytes | os.PathLike):
        return [load_image(images)]
    if isinstance(images, Image.Image) or getattr(images, "ndim", 0) == 3:
        return [images]
    if getattr(images, "ndim", 0) != 4 and not isinstance(images, Sequence):
        raise InvalidInputError(f"An image or a list of them is needed, not {type(images).__name__}.")
    found = [image for one in images for image in list_images(one)]
    if not found:
        raise InvalidInputError("There must be at least one image.")
    return found
