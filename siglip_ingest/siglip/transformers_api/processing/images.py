"""Reads images in every form that processors take: PIL images, paths, URLs, bytes, arrays and tensors."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.siglip.preprocess.decode import lay_on_white, make_upright_rgb, pil_errors
from siglip_ingest.siglip.preprocess.files import download_file, is_web_address
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, open_image

DEFAULT_TIMEOUT_S = 30.0


def load_image(
    image: str | os.PathLike[str] | bytes | Image.Image,
    timeout: float | None = None,
) -> Image.Image:
    """Read an image, turned upright as its EXIF data say, in RGB.

    Args:
        image: A path, an http(s) URL, a data URL, the bytes of an image file, or a PIL image.
        timeout: Seconds that a web server has for its whole answer; None gives it 30.

    Raises:
        ImageError: If it can't be fetched or read.
        InvalidInputError: If it is none of these.
    """
    if isinstance(image, str) and is_web_address(image):
        wait_s = DEFAULT_TIMEOUT_S if timeout is None else timeout
        image = download_file(image, max_image_bytes=DEFAULT_LIMITS.max_image_bytes, timeout_s=wait_s)
    elif isinstance(image, str) and image.startswith("data:image/"):
        image = _read_data_url(image)
    elif isinstance(image, str | os.PathLike):
        image = Path(image)
    return open_image(image, clip_16_bit=True)  # as the reference's loader does


def make_rgb(image: Image.Image) -> Image.Image:
    """Make a PIL image RGB as it lies there, without looking at EXIF data, and on white where it is transparent.

    Raises:
        ImageError: If it can't be read.
    """
    with pil_errors():
        plain = image.copy()
        plain.info = {name: value for name, value in image.info.items() if name == "transparency"}
        return make_upright_rgb(plain if plain.mode == "RGB" else lay_on_white(plain), clip_16_bit=True)


def read_array(image: Any, data_format: str | None = None) -> NDArray[Any]:
    """Read an image from an array or tensor of numbers.

    Args:
        image: (height, width, 3) or (3, height, width), or with one channel; whole numbers from 0 to 255, or floating
            point.
        data_format: "channels_first" or "channels_last", where the shape doesn't tell.

    Returns:
        (height, width, 3) uint8, or of floating point where the array is.

    Raises:
        InvalidInputError: If it is something else.
    """
    try:
        array = np.asarray(image.detach().cpu() if hasattr(image, "detach") else image)
    except TypeError as error:  # numpy has no bfloat16
        raise InvalidInputError(f"A tensor of an image must be one that numpy knows: {error}.") from error
    if array.ndim != 3 or array.dtype.kind not in "uif":
        raise InvalidInputError(
            "An image is a PIL image, a path, a URL, or an array of numbers with three axes, not "
            f"{type(image).__name__} {array.shape} {array.dtype}."
        )
    kind = getattr(data_format, "value", data_format)  # transformers' own enumeration has the same names
    if kind not in {None, "channels_first", "channels_last"}:
        raise InvalidInputError(f"input_data_format must be channels_first or channels_last, not {data_format!r}.")
    is_guessed_first = kind is None and array.shape[2] not in {1, 3} and array.shape[0] in {1, 3}
    if kind == "channels_first" or is_guessed_first:
        array = array.transpose(1, 2, 0)
    if array.shape[2] not in {1, 3}:
        raise InvalidInputError(f"An array of an image has 3 channels or 1, first or last, unlike {np.shape(image)}.")
    if array.dtype.kind in "ui":
        if array.size and (array.min() < 0 or array.max() > 255):
            raise InvalidInputError(f"Pixels are from 0 to 255, not {array.min()} to {array.max()}.")
        array = array.astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _read_data_url(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"The data URL isn't base64: {error}.", code="not_an_image") from error
