"""Pictures as documents pass them: PIL images, paths, URLs, bytes, arrays and tensors."""

from __future__ import annotations

import base64
import binascii
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.preprocess.image import lay_on_white, make_upright_rgb
from siglip_ingest.settings import Settings
from siglip_ingest.sources import fetch, is_web_address, open_image

DEFAULT_TIMEOUT_S = 30.0


def load_image(
    image: str | os.PathLike[str] | bytes | Image.Image,
    timeout: float | None = None,
) -> Image.Image:
    """Read a picture, turned upright as its EXIF data say, in RGB.

    Args:
        image: A path, an http(s) URL, a data URL, the bytes of an image file, or a PIL image.
        timeout: Seconds that a web server has for its whole answer; None gives it 30.

    Raises:
        ImageError: If it can't be fetched or read.
        InvalidInputError: If it is none of these.
    """
    limits = Settings()
    if isinstance(image, str) and is_web_address(image):
        wait_s = DEFAULT_TIMEOUT_S if timeout is None else timeout
        image = fetch(image, max_image_bytes=limits.max_image_bytes, timeout_s=wait_s)
    elif isinstance(image, str) and image.startswith("data:image/"):
        image = _read_data_url(image)
    elif isinstance(image, os.PathLike):
        image = Path(image)
    return open_image(image, max_image_bytes=limits.max_image_bytes, max_image_pixels=limits.max_image_pixels)


def make_rgb(image: Any) -> Image.Image:
    """Make a picture RGB as it lies there, without looking at EXIF data, and on white where it is transparent.

    Args:
        image: A PIL image; or an array or tensor of uint8, (height, width, 3) or (3, height, width).

    Raises:
        ImageError: If the PIL image can't be read.
        InvalidInputError: If it is something else.
    """
    if not isinstance(image, Image.Image):
        return _read_array(image)
    try:
        plain = image.copy()
        plain.info = {name: value for name, value in image.info.items() if name == "transparency"}
        return make_upright_rgb(plain if plain.mode == "RGB" else lay_on_white(plain))
    except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: Pillow's word for a damaged PNG
        raise ImageError(f"The PIL image can't be read: {error}.", code="unreadable") from error


def _read_array(image: Any) -> Image.Image:
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise InvalidInputError(
            "A picture is a PIL image, a path, a URL, or an array of uint8 with three axes, not "
            f"{type(image).__name__} {array.shape} {array.dtype}."
        )
    if array.shape[2] not in {1, 3} and array.shape[0] in {1, 3}:
        array = array.transpose(1, 2, 0)
    if array.shape[2] not in {1, 3}:
        raise InvalidInputError(f"An array of a picture has 3 channels or 1, first or last, unlike {array.shape}.")
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3))))


def _read_data_url(url: str) -> bytes:
    try:
        return base64.b64decode(url.partition(",")[2], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ImageError(f"The data URL isn't base64: {error}.", code="not_an_image") from error
