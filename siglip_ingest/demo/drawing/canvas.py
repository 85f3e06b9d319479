"""A canvas: Pillow's drawing functions in units of the image's height."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

INK: Colour = (52, 42, 52)


class Canvas:
    """An RGB image that is drawn in units of its height: y in [0, 1] from the top, x in [0, aspect] from the left.

    Nothing depends on the number of pixels, so a scene looks the same at any size.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.aspect = width / height
        self.image = Image.new("RGB", (width, height))
        self._pen = ImageDraw.Draw(self.image, "RGBA")
        self._drawn: list[Point] = []

    def take_box(self) -> Box:
        """The box round all that was drawn since the last call, as shares of width and height in [0, 1].

        Gradients and glows don't count; where nothing was drawn all four are 0.
        """
        points, self._drawn = self._drawn, []
        if not points:
            return (0.0, 0.0, 0.0, 0.0)
        x, y = np.clip(np.array(points).T / [[self.aspect], [1.0]], 0.0, 1.0)
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    def gradient(self, stops: Sequence[tuple[float, Colour]], *, top: float = 0.0, bottom: float = 1.0) -> None:
        """Fill the band from `top` to `bottom` with colours blended between `stops` (position in [0, 1], colour)."""
        first, last = round(top * self.height), round(bottom * self.height)
        if last <= first:
            return
        rows = np.linspace(0.0, 1.0, last - first)
        positions = [position for position, _ in stops]
        band = np.stack([np.interp(rows, positions, [colour[c] for _, colour in stops]) for c in range(3)], axis=-1)
        pixels = np.broadcast_to(band[:, None, :].round().astype(np.uint8), (last - first, self.width, 3))
        self.image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (0, first))

    def glow(self, centre: Point, radius: float, colour: Colour, strength: float, *, bottom: float = 1.0) -> None:
        """Brighten a disc towards `colour`, most at its centre and not at all at `radius` or below `bottom`."""
        x, y, r = (value * self.height for value in (*centre, radius))
        left, upper = max(0, math.floor(x - r)), max(0, math.floor(y - r))
        right, lower = min(self.width, math.ceil(x + r)), min(round(bottom * self.height), math.ceil(y + r))
        if right <= left or lower <= upper:
            return
        box = (left, upper, right, lower)
        columns = np.arange(left, right, dtype=np.float32)[None, :] + 0.5 - x
        rows = np.arange(upper, lower, dtype=np.float32)[:, None] + 0.5 - y
        nearness = np.clip(1.0 - np.sqrt(columns**2 + rows**2) / r, 0.0, 1.0)
        mask = Image.fromarray((255 * strength * nearness**1.6).astype(np.uint8))
        self.image.paste(colour, box, mask)

    def polygon(self, points: Sequence[Point], colour: Colour, *, alpha: int = 255, outline: float = 0.0) -> None:
        """Fill a polygon; `outline` is the width of an ink line round it."""
        pixels = self._to_pixels(points)
        self._pen.polygon(pixels, fill=(*colour, alpha))
        if outline:
            self._pen.line(
                [*pixels, pixels[0], pixels[1]], fill=(*INK, 255), width=self._stroke(outline), joint="curve"
            )

    def ellipse(
        self, centre: Point, rx: float, ry: float, colour: Colour, *, alpha: int = 255, outline: float = 0.0
    ) -> None:
        """Fill an ellipse with radii `rx` and `ry`."""
        x, y = centre
        box = self._to_pixels([(x - rx, y - ry), (x + rx, y + ry)])
        if outline:
            self._pen.ellipse(box, fill=(*colour, alpha), outline=(*INK, 255), width=self._stroke(outline))
        else:
            self._pen.ellipse(box, fill=(*colour, alpha))

    def rectangle(self, box: tuple[float, float, float, float], colour: Colour, *, outline: float = 0.0) -> None:
        """Fill a box given as left, top, right, bottom."""
        left, top, right, bottom = box
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour, outline=outline)

    def line(self, points: Sequence[Point], colour: Colour, width: float, *, alpha: int = 255) -> None:
        """Draw a broken line."""
        pixels = self._to_pixels(points)
        self._pen.line(pixels, fill=(*colour, alpha), width=self._stroke(width), joint="curve")

    def arc(self, centre: Point, radius: float, colour: Colour, width: float, *, alpha: int = 255) -> None:
        """Draw the upper half of a circle's rim."""
        x, y = centre
        box = self._to_pixels([(x - radius, y - radius), (x + radius, y + radius)])
        self._pen.arc(box, 180, 360, fill=(*colour, alpha), width=self._stroke(width))

    def _to_pixels(self, points: Sequence[Point]) -> list[Point]:
        """Turn points into pixels, and note that something is drawn between them."""
        self._drawn += points
        return [(x * self.height, y * self.height) for x, y in points]

    def _stroke(self, width: float) -> int:
        return max(1, round(width * self.height))


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Blend two colours; `share` in [0, 1] is the second one's part."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def light(colour: Colour, tint: tuple[float, float, float], strength: float = 1.0) -> Colour:
    """Show a colour under a light whose channels are in [0, 1]; `strength` 0 leaves it as it is."""
    return tuple(round(c * (1.0 + (t - 1.0) * strength)) for c, t in zip(colour, tint, strict=True))  # type: ignore[return-value]
