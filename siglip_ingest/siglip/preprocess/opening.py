"""Opens an image that a program names: a Path, bytes or a PIL image becomes upright RGB pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from siglip_ingest.errors import ConfigurationError, InvalidInputError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.preprocess.decode import decode_image, make_upright_rgb, pil_errors
from siglip_ingest.siglip.preprocess.files import read_file


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """How large an image may be.

    Attributes:
        max_image_bytes: Larger files are refused.
        max_image_pixels: Images of more pixels are refused before they are decoded.
    """

    max_image_bytes: int = 100_000_000
    max_image_pixels: int = 200_000_000

    def __post_init__(self) -> None:
        for name in ("max_image_bytes", "max_image_pixels"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {getattr(self, name)}.")


DEFAULT_LIMITS = ImageLimits()


def open_image(
    source: Path | bytes | Image.Image, limits: ImageLimits = DEFAULT_LIMITS, *, clip_16_bit: bool = False
) -> Image.Image:
    """Decode an image: a Path, the bytes of an image file, or a PIL image.

    Args:
        source: What the person who runs the program names; any file that they may read.
        limits: Larger images are refused.
        clip_16_bit: Make of 16-bit grey what transformers makes of it, mostly white; else it is scaled to 8 bits.

    Returns:
        An upright RGB image of the source's own size.

    Raises:
        ImageError: If it can't be read or isn't an image.
        InvalidInputError: If `source` is none of these.
    """
    if isinstance(source, Image.Image):
        with pil_errors():
            return make_upright_rgb(source, clip_16_bit=clip_16_bit)
    if isinstance(source, Path):
        content = read_file(expand_user(source), max_image_bytes=limits.max_image_bytes)
    elif isinstance(source, bytes):
        content = source
    else:
        raise InvalidInputError(
            f"An image is a Path, the bytes of an image file or a PIL image, not {type(source).__name__}."
        )
    return decode_image(content, max_image_pixels=limits.max_image_pixels, clip_16_bit=clip_16_bit)
