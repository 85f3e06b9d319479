"""JPEGs far larger than what a model takes: libjpeg decodes them at 1/2, 1/4 or 1/8 of their size, which is faster."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

MIN_FACTOR = 2  # what is decoded stays at least so many times as high and as wide as what the model takes

# Height and width of an upright image to those that it is resized to, such as `ImageSettings.choose_size`.
ChooseSize = Callable[[int, int], tuple[int, int]]


def reduce_jpeg(image: Image.Image, choose_size: ChooseSize, *, is_on_its_side: bool) -> None:
    """Have a JPEG that isn't decoded yet be decoded at a reduced scale, if it is large enough; others stay as they are.

    Args:
        image: With its header read; its `size` becomes the reduced one.
        choose_size: The model's.
        is_on_its_side: Whether turning the image upright will swap its height and width.
    """
    if image.format not in {"JPEG", "MPO"}:
        return
    width, height = image.size
    wanted_height, wanted_width = choose_size(width, height)[::-1] if is_on_its_side else choose_size(height, width)
    image.draft(None, (MIN_FACTOR * wanted_width, MIN_FACTOR * wanted_height))
