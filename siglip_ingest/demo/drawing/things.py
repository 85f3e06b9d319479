"""Draws the things that stand in the demo world's landscapes: boats, castles, trees, ..."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from siglip_ingest.demo.drawing.canvas import INK, Canvas, Colour, Point, mix

_LINE = 0.007  # outline of things, in image heights
_WOOD: Colour = (122, 84, 56)
_STONE: Colour = (168, 164, 160)


def draw_thing(canvas: Canvas, thing: str, base: Point, size: float, colour: Colour) -> None:
    """Draw a thing that stands with its foot at `base` and is about `size` high (in image heights)."""
    _THINGS[thing](canvas, base, size, colour)


def _place(origin: Point, size: float, points: Sequence[Point]) -> list[Point]:
    """Map points from a thing's own frame (x right, y up, one unit high) to the image's."""
    return [(origin[0] + x * size, origin[1] - y * size) for x, y in points]


def _box(canvas: Canvas, base: Point, size: float, corners: tuple[float, float, float, float], colour: Colour) -> None:
    left, low, right, high = corners
    canvas.polygon(_place(base, size, [(left, low), (right, low), (right, high), (left, high)]), colour, outline=_LINE)


def _boat(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.ellipse(_place(base, size, [(0.0, 0.0)])[0], 0.5 * size, 0.045 * size, (250, 252, 255), alpha=150)
    canvas.line(_place(base, size, [(0.0, 0.2), (0.0, 1.02)]), INK, 0.012)
    canvas.polygon(_place(base, size, [(0.04, 0.32), (0.04, 1.0), (0.44, 0.34)]), colour, outline=_LINE)
    canvas.polygon(
        _place(base, size, [(-0.04, 0.34), (-0.04, 0.86), (-0.34, 0.34)]),
        mix(colour, (255, 255, 255), 0.25),
        outline=_LINE,
    )
    hull = [(-0.5, 0.26), (0.5, 0.26), (0.34, 0.0), (-0.34, 0.0)]
    canvas.polygon(_place(base, size, hull), colour, outline=_LINE)


def _house(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    _box(canvas, base, size, (0.2, 0.6, 0.32, 0.96), _STONE)
    _box(canvas, base, size, (-0.45, 0.0, 0.45, 0.55), colour)
    canvas.polygon(_place(base, size, [(-0.56, 0.53), (0.0, 1.0), (0.56, 0.53)]), (92, 62, 60), outline=_LINE)
    _box(canvas, base, size, (-0.1, 0.0, 0.1, 0.34), (84, 54, 40))
    for left in (-0.36, 0.17):
        _box(canvas, base, size, (left, 0.2, left + 0.19, 0.4), (255, 236, 160))


def _tree(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.polygon(_place(base, size, [(-0.07, 0.0), (0.07, 0.0), (0.05, 0.5), (-0.05, 0.5)]), _WOOD, outline=_LINE)
    crown = ((-0.24, 0.55, 0.23), (0.24, 0.55, 0.23), (-0.14, 0.78, 0.22), (0.15, 0.78, 0.22), (0.0, 0.62, 0.28))
    for x, y, radius in crown:
        canvas.ellipse(_place(base, size, [(x, y)])[0], (radius + 0.02) * size, (radius + 0.02) * size, INK)
    for x, y, radius in crown:
        canvas.ellipse(_place(base, size, [(x, y)])[0], radius * size, radius * size, colour)
    for x, y in ((-0.2, 0.66), (0.12, 0.84), (0.05, 0.6)):
        canvas.ellipse(_place(base, size, [(x, y)])[0], 0.08 * size, 0.06 * size, mix(colour, (255, 255, 255), 0.35))


def _tent(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.polygon(
        _place(base, size, [(-0.62, 0.0), (-0.12, 0.78), (0.18, 0.78), (0.62, 0.0)]),
        mix(colour, INK, 0.22),
        outline=_LINE,
    )
    canvas.polygon(_place(base, size, [(-0.62, 0.0), (-0.12, 0.78), (0.3, 0.0)]), colour, outline=_LINE)
    canvas.polygon(_place(base, size, [(-0.28, 0.0), (-0.12, 0.55), (0.02, 0.0)]), (60, 46, 50))


def _car(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.polygon(_place(base, size, [(-0.4, 0.36), (-0.26, 0.66), (0.2, 0.66), (0.42, 0.36)]), colour, outline=_LINE)
    for window in (
        ((-0.31, 0.38), (-0.21, 0.59), (-0.04, 0.59), (-0.04, 0.38)),
        ((0.02, 0.38), (0.02, 0.59), (0.17, 0.59), (0.32, 0.38)),
    ):
        canvas.polygon(_place(base, size, window), (206, 230, 244))
    body = [(-0.66, 0.12), (-0.66, 0.34), (-0.55, 0.4), (0.5, 0.4), (0.68, 0.3), (0.68, 0.12)]
    canvas.polygon(_place(base, size, body), colour, outline=_LINE)
    for x in (-0.38, 0.38):
        wheel = _place(base, size, [(x, 0.11)])[0]
        canvas.ellipse(wheel, 0.14 * size, 0.14 * size, (36, 34, 40))
        canvas.ellipse(wheel, 0.06 * size, 0.06 * size, (206, 206, 210))


def _windmill(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.polygon(_place(base, size, [(-0.24, 0.0), (0.24, 0.0), (0.14, 0.62), (-0.14, 0.62)]), colour, outline=_LINE)
    canvas.polygon(_place(base, size, [(-0.18, 0.61), (0.0, 0.8), (0.18, 0.61)]), (92, 62, 60), outline=_LINE)
    _box(canvas, base, size, (-0.06, 0.0, 0.06, 0.2), (84, 54, 40))
    hub = (0.0, 0.62)
    for quarter in range(4):
        angle = math.radians(38 + 90 * quarter)
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
        sail = [
            (hub[0] + along[0] * r + across[0] * w, hub[1] + along[1] * r + across[1] * w)
            for r, w in ((0.1, 0.0), (0.5, 0.0), (0.5, 0.13), (0.1, 0.13))
        ]
        canvas.polygon(_place(base, size, sail), (250, 244, 228), outline=_LINE * 0.8)
    canvas.ellipse(_place(base, size, [hub])[0], 0.05 * size, 0.05 * size, INK)


def _lighthouse_edge(y: float) -> float:
    """Return half the tower's width at height y."""
    return 0.2 - 0.1 * y


def _lighthouse(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    lamp = _place(base, size, [(0.0, 0.98)])[0]
    canvas.glow(lamp, 0.22 * size / 0.36, (255, 246, 190), 0.8)
    for row in range(5):
        low, high = row * 0.174, (row + 1) * 0.174
        band = [
            (-_lighthouse_edge(low), low),
            (_lighthouse_edge(low), low),
            (_lighthouse_edge(high), high),
            (-_lighthouse_edge(high), high),
        ]
        paint = colour if row % 2 == 0 else mix(colour, (255, 255, 255), 0.82)
        canvas.polygon(_place(base, size, band), paint, outline=_LINE * 0.8)
    _box(canvas, base, size, (-0.17, 0.86, 0.17, 0.91), (70, 66, 76))
    _box(canvas, base, size, (-0.09, 0.91, 0.09, 1.06), (255, 240, 150))
    canvas.polygon(_place(base, size, [(-0.14, 1.05), (0.0, 1.2), (0.14, 1.05)]), colour, outline=_LINE)


def _castle(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    _box(canvas, base, size, (-0.36, 0.0, 0.36, 0.5), colour)
    for step in range(4):
        _box(canvas, base, size, (-0.36 + step * 0.205, 0.5, -0.25 + step * 0.205, 0.6), colour)
    for x in (-0.5, 0.5):
        _box(canvas, base, size, (x - 0.14, 0.0, x + 0.14, 0.72), colour)
        canvas.polygon(_place(base, size, [(x - 0.19, 0.7), (x, 1.02), (x + 0.19, 0.7)]), (78, 66, 92), outline=_LINE)
        _box(canvas, base, size, (x - 0.04, 0.46, x + 0.04, 0.58), (60, 46, 60))
    canvas.polygon(
        _place(base, size, [(-0.12, 0.0), (-0.12, 0.2), (0.0, 0.32), (0.12, 0.2), (0.12, 0.0)]), (60, 46, 60)
    )


def _umbrella(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.line(_place(base, size, [(0.0, 0.0), (0.0, 0.9)]), _WOOD, 0.016)
    rim = [(0.58 * math.cos(math.radians(a)), 0.46 + 0.5 * math.sin(math.radians(a))) for a in range(0, 181, 12)]
    canvas.polygon(_place(base, size, rim), colour, outline=_LINE)
    pale = mix(colour, (255, 255, 255), 0.45)
    for left, right in ((-0.38, -0.14), (0.14, 0.38)):
        canvas.polygon(
            _place(base, size, [(left, 0.47), (left * 0.7, 0.78), (0.0, 0.95), (right * 0.7, 0.78), (right, 0.47)]),
            pale,
        )


def _flag(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    canvas.line(_place(base, size, [(-0.34, 0.0), (-0.34, 1.06)]), (72, 58, 56), 0.02)
    steps = [t / 8 for t in range(9)]
    upper = [(-0.33 + 0.9 * t, 1.02 - 0.05 * math.sin(t * 6.0)) for t in steps]
    lower = [(-0.33 + 0.9 * t, 0.48 - 0.05 * math.sin(t * 6.0)) for t in reversed(steps)]
    canvas.polygon(_place(base, size, [*upper, *lower]), colour, outline=_LINE)


_THINGS: dict[str, Callable[[Canvas, Point, float, Colour], None]] = {
    "boat": _boat,
    "house": _house,
    "tree": _tree,
    "tent": _tent,
    "car": _car,
    "windmill": _windmill,
    "lighthouse": _lighthouse,
    "castle": _castle,
    "umbrella": _umbrella,
    "flag": _flag,
}
