"""Draws what is in the air of the demo world: balloons, birds, planes, rainbows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random

from siglip_ingest.demo.drawing.canvas import INK, Canvas, Colour, Point, mix

_LINE = 0.007  # outline, in image heights
_WICKER: Colour = (122, 84, 56)


def draw_flyer(canvas: Canvas, flyer: str, centre: Point, size: float, *, colour: Colour | None, rng: Random) -> None:
    """Draw something in the sky round `centre`, about `size` high."""
    _FLYERS[flyer](canvas, centre, size, colour or (246, 246, 246), rng)


def _moon(canvas: Canvas, centre: Point, size: float, colour: Colour, rng: Random) -> None:
    del colour
    x, y = centre
    radius = 0.42 * size
    canvas.glow(centre, radius * 2.4, (236, 238, 255), 0.5)
    canvas.ellipse(centre, radius, radius, (244, 242, 226))
    for _ in range(5):
        angle, reach = rng.uniform(0.0, math.tau), rng.uniform(0.1, 0.65) * radius
        crater = (x + reach * math.cos(angle), y + reach * math.sin(angle))
        canvas.ellipse(crater, radius * 0.18, radius * 0.16, (208, 206, 196))


def _balloon(canvas: Canvas, centre: Point, size: float, colour: Colour, rng: Random) -> None:
    del rng
    x, y = centre
    y -= 0.12 * size
    for dx in (-0.14, 0.14):
        canvas.line([(x + dx * 1.8 * size, y + 0.26 * size), (x + dx * 0.6 * size, y + 0.54 * size)], INK, 0.006)
    canvas.polygon(
        [
            (x - 0.33 * size, y + 0.22 * size),
            (x + 0.33 * size, y + 0.22 * size),
            (x + 0.1 * size, y + 0.46 * size),
            (x - 0.1 * size, y + 0.46 * size),
        ],
        colour,
        outline=_LINE,
    )
    canvas.ellipse((x, y), 0.4 * size, 0.42 * size, colour, outline=_LINE)
    canvas.ellipse((x, y), 0.14 * size, 0.41 * size, mix(colour, (255, 255, 255), 0.4))
    canvas.rectangle((x - 0.09 * size, y + 0.52 * size, x + 0.09 * size, y + 0.66 * size), _WICKER, outline=_LINE)


def _kite(canvas: Canvas, centre: Point, size: float, colour: Colour, rng: Random) -> None:
    x, y = centre
    side = rng.choice([-1, 1])
    tail = [(x - side * 0.1 * size + 0.07 * size * math.sin(t * 1.3), y + (0.4 + 0.1 * t) * size) for t in range(8)]
    canvas.line(tail, INK, 0.008)
    for point in tail[2::2]:
        canvas.ellipse(point, 0.05 * size, 0.03 * size, colour)
    sail = [
        (x + side * 0.12 * size, y - 0.5 * size),
        (x + 0.36 * size, y - 0.06 * size),
        (x - side * 0.1 * size, y + 0.42 * size),
        (x - 0.36 * size, y - 0.1 * size),
    ]
    canvas.polygon(sail, colour, outline=_LINE)
    canvas.line([sail[0], sail[2]], INK, 0.005)
    canvas.line([sail[1], sail[3]], INK, 0.005)


def _birds(canvas: Canvas, centre: Point, size: float, colour: Colour, rng: Random) -> None:
    del colour
    for dx, dy in ((0.0, 0.0), (-0.42, 0.2), (0.42, 0.16), (-0.12, 0.42), (0.24, -0.32)):
        x = centre[0] + dx * 1.15 * size + rng.uniform(-0.015, 0.015)
        y = centre[1] + dy * size + rng.uniform(-0.015, 0.015)
        span, lift = 0.27 * size, rng.uniform(0.1, 0.16) * size
        wings = [
            (x - span, y - lift),
            (x - span * 0.45, y - lift * 1.3),
            (x, y),
            (x + span * 0.45, y - lift * 1.3),
            (x + span, y - lift),
        ]
        canvas.line(wings, (248, 248, 250), 0.02)
        canvas.line(wings, (34, 32, 40), 0.014)


def _place(centre: Point, width: float, height: float, points: Sequence[Point]) -> list[Point]:
    """Map points round (0, 0), y up, to the image; a negative width mirrors them."""
    return [(centre[0] + x * width, centre[1] - y * height) for x, y in points]


def _airplane(canvas: Canvas, centre: Point, size: float, colour: Colour, rng: Random) -> None:
    side = rng.choice([-1, 1])
    canvas.polygon(
        _place(centre, side * size, size, [(-0.6, 0.38), (-0.38, 0.1), (-0.56, 0.06)]),
        mix(colour, INK, 0.15),
        outline=_LINE,
    )
    canvas.polygon(
        _place(centre, side * size, size, [(-0.1, 0.06), (0.2, 0.04), (-0.2, 0.4), (-0.32, 0.4)]),
        mix(colour, INK, 0.25),
        outline=_LINE,
    )
    canvas.polygon(
        _place(
            centre,
            side * size,
            size,
            [(-0.6, 0.08), (-0.5, 0.14), (0.42, 0.14), (0.62, 0.0), (0.42, -0.1), (-0.45, -0.04)],
        ),
        colour,
        outline=_LINE,
    )
    canvas.polygon(
        _place(centre, side * size, size, [(-0.12, 0.02), (0.2, 0.0), (-0.3, -0.36), (-0.42, -0.34)]),
        colour,
        outline=_LINE,
    )


def _rainbow(canvas: Canvas, centre: Point, size: float, colour: Colour, rng: Random) -> None:
    del colour, size
    bands = ((226, 60, 60), (246, 146, 50), (250, 222, 70), (80, 186, 90), (70, 130, 220), (140, 80, 190))
    middle = (canvas.aspect * rng.uniform(0.42, 0.58), 0.72)
    del centre
    for step, band in enumerate(bands):
        canvas.arc(middle, 0.64 - step * 0.024, band, 0.026, alpha=205)


_FLYERS: dict[str, Callable[[Canvas, Point, float, Colour, Random], None]] = {
    "moon": _moon,
    "balloon": _balloon,
    "kite": _kite,
    "birds": _birds,
    "airplane": _airplane,
    "rainbow": _rainbow,
}
