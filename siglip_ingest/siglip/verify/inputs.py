"""The fixed inputs of `verify`: texts, drawn images, and published photographs.

Nothing here depends on a version: the test card is plain arithmetic, the circles are what Pillow draws.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from siglip_ingest.errors import ImageError, NotFoundError
from siglip_ingest.siglip.preprocess.files import download_file
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, open_image

# The first two go through every worker's start. Capitals, punctuation, accents and other scripts tell tokenizers apart;
# all are short enough for the 16 positions of so400m-patch14-224.
TEXTS = (
    "A Photo, two cats!",
    "Zürich 日落",
    "a red square",
    "a green circle",
    "the blue triangle is on a pale background",
    "غروب الشمس",
    "🦄",
    "",
)
QUICK_TEXTS = TEXTS[:2]
FETCH_TIMEOUT_S = 20.0
TEST_CARD = "test_card"
SHAPES = ("red_square", "green_circle", "blue_triangle")
CIRCLES = {f"circle_{height}x{width}": (height, width) for height, width in ((224, 224), (1024, 1024), (224, 1024))}
DRAWN_IMAGES = (TEST_CARD, *SHAPES, *CIRCLES)


def draw_image(name: str) -> Image.Image:
    """Draw one of `DRAWN_IMAGES`, RGB."""
    if name in CIRCLES:
        return draw_circle(*CIRCLES[name])
    return draw_test_card() if name == TEST_CARD else draw_shape(name)


def draw_circle(height: int, width: int) -> Image.Image:
    """Draw a blue circle with a green border on red, as the reference's test of NaFlex does.

    tests/models/siglip2/test_modeling_siglip2.py, `prepare_images`: its expected logits are of these pixels.
    """
    image = Image.new("RGB", (width, height), color="red")
    x, y = width // 2, height // 2
    radius = min(x, y) // 8 * 7
    corners = (x - radius, y - radius, x + radius, y + radius)
    ImageDraw.Draw(image).ellipse(corners, fill="blue", outline="green", width=width // 20)
    return image


def draw_shape(name: str) -> Image.Image:
    """Draw one of `SHAPES` on a pale ground of 32 x 32 pixels."""
    y, x = np.mgrid[:32, :32]
    covered, colour = {
        "red_square": ((x >= 8) & (x < 24) & (y >= 8) & (y < 24), (220, 40, 40)),
        "green_circle": ((x - 16) ** 2 + (y - 16) ** 2 <= 9**2, (40, 170, 75)),
        "blue_triangle": ((y >= 7) & (y <= 25) & (abs(x - 16) <= (y - 7) // 2), (40, 90, 220)),
    }[name]
    return Image.fromarray(np.where(covered[..., None], colour, (245, 245, 245)).astype(np.uint8))


def draw_test_card() -> Image.Image:
    """Draw 300 x 200 pixels whose edges, ramps and fine stripes every filter of a resize treats in its own way."""
    y, x = np.mgrid[:200, :300]
    pixels = np.stack([x * 255 // 299, y * 255 // 199, (x + y) * 255 // 498], axis=-1)
    pixels[20:90, 20:140] = np.where((x[20:90, 20:140] // 3 % 2)[..., None], 255, 0)
    pixels[110:180, 20:140] = np.where(((x + 2 * y)[110:180, 20:140] // 5 % 2)[..., None], (230, 40, 60), (20, 60, 200))
    distance = (x - 220) ** 2 + (y - 100) ** 2
    pixels[(distance <= 60**2) & (distance % 700 < 350)] = (250, 220, 30)
    return Image.fromarray(pixels.astype(np.uint8))


def open_photograph(file: str, url: str, *, folder: Path | None, may_fetch: bool) -> Image.Image:
    """Open a photograph that doesn't come with the package.

    Args:
        file: Its name without a suffix.
        url: Where it is on the web.
        folder: Looked into first, for a PNG or a JPEG of that name.
        may_fetch: Whether to fetch it where the folder doesn't have it.

    Raises:
        NotFoundError: If it isn't here and can't, or may not, be fetched. The message is the reason.
        ImageError: If a file of the folder can't be read.
    """
    paths = [] if folder is None else [folder / f"{file}{suffix}" for suffix in (".png", ".jpg", ".jpeg")]
    if path := next((path for path in paths if path.is_file()), None):
        return open_image(path)
    missing = f"{file}.jpg isn't here; " if folder is None else f"{folder} has no {file}.png or .jpg; "
    if not may_fetch:
        raise NotFoundError(f"{missing}get it from {url}, and name its folder with --images.")
    try:
        return open_image(download_file(url, max_image_bytes=DEFAULT_LIMITS.max_image_bytes, timeout_s=FETCH_TIMEOUT_S))
    except ImageError as error:
        raise NotFoundError(f"{missing}{error} Get it, and name its folder with --images.") from error
