"""Draws the demo world's second kind of image: two coloured shapes on a plain or patterned background."""

from __future__ import annotations

import math
from random import Random

from siglip_ingest.demo.drawing.canvas import Canvas, Colour, Point, mix


def _lift_of_heart(t: float) -> float:
    return 0.064 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) + 0.1


# Corners of each shape in a frame where it fills the unit circle; y points up.
_OUTLINES: dict[str, list[Point]] = {
    "circle": [(math.cos(math.tau * t / 48), math.sin(math.tau * t / 48)) for t in range(48)],
    "square": [(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)],
    "triangle": [(-1.0, -0.8), (1.0, -0.8), (0.0, 0.95)],
    "star": [
        (r * math.sin(math.tau * t / 10), r * math.cos(math.tau * t / 10)) for t, r in enumerate((1.08, 0.44) * 5)
    ],
    "heart": [(1.024 * math.sin(t) ** 3, _lift_of_heart(t)) for t in (math.tau * step / 48 for step in range(48))],
    "cross": [
        (-0.34, -1.0), (0.34, -1.0), (0.34, -0.34), (1.0, -0.34), (1.0, 0.34), (0.34, 0.34),
        (0.34, 1.0), (-0.34, 1.0), (-0.34, 0.34), (-1.0, 0.34), (-1.0, -0.34), (-0.34, -0.34),
    ],
    "ring": [(math.cos(math.tau * t / 48), math.sin(math.tau * t / 48)) for t in range(48)],
}  # fmt: skip

_PLAIN: dict[str, Colour] = {"white": (248, 247, 243), "black": (28, 27, 34), "gray": (156, 158, 164)}


def draw_background(canvas: Canvas, background: str, rng: Random) -> None:
    """Fill the canvas with a plain colour or with stripes, dots or checks in quiet tones."""
    if background in _PLAIN:
        colour = _PLAIN[background]
        canvas.gradient([(0.0, mix(colour, (255, 255, 255), 0.06)), (1.0, mix(colour, (0, 0, 0), 0.08))])
        return
    pale, deep = rng.choice(
        [((236, 226, 210), (208, 190, 166)), ((222, 232, 236), (182, 200, 210)), ((234, 224, 234), (206, 188, 208))]
    )
    canvas.gradient([(0.0, pale), (1.0, pale)])
    step = 0.125
    columns, rows = math.ceil(canvas.aspect / step) + 1, math.ceil(1 / step) + 1
    if background == "striped":
        for column in range(-rows, columns, 2):
            x = column * step
            canvas.polygon([(x, 0.0), (x + step, 0.0), (x + step + 1.0, 1.0), (x + 1.0, 1.0)], deep)
    for row in range(rows):
        for column in range(columns):
            x, y = column * step, row * step
            if background == "checkered" and (row + column) % 2:
                canvas.rectangle((x, y, x + step, y + step), deep)
            elif background == "dotted":
                canvas.ellipse((x + step * (0.5 if row % 2 else 0.0), y), 0.034, 0.034, deep)


def draw_shape(
    canvas: Canvas, shape: str, centre: Point, radius: float, *, turn: float, colour: Colour, hole: Colour
) -> None:
    """Draw one shape with a soft shadow; a ring shows `hole` where the background would be.

    Args:
        canvas: What to draw on.
        shape: A word of `world.SHAPES`.
        centre: Its middle, in image heights.
        radius: Of the circle that holds it, in image heights.
        turn: Rotation in radians.
        colour: Its fill.
        hole: The colour within a ring.
    """
    outline = _turn(_OUTLINES[shape], turn)
    shadow = [(centre[0] + radius * x + 0.012, centre[1] - radius * y + 0.016) for x, y in outline]
    canvas.polygon(shadow, (20, 18, 30), alpha=70)
    canvas.polygon([(centre[0] + radius * x, centre[1] - radius * y) for x, y in outline], colour, outline=0.006)
    if shape == "ring":
        canvas.ellipse(centre, radius * 0.54, radius * 0.54, hole, outline=0.006)


def background_colour(background: str) -> Colour:
    """Return what a ring's hole shows."""
    return _PLAIN.get(background, (230, 226, 224))


def _turn(points: list[Point], angle: float) -> list[Point]:
    cos, sin = math.cos(angle), math.sin(angle)
    return [(x * cos - y * sin, x * sin + y * cos) for x, y in points]
