"""Draws the ground of the demo world's landscapes: water, snow, desert, mountains, ..."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from siglip_ingest.demo.drawing.canvas import Canvas, Colour, Point, light, mix
from siglip_ingest.demo.drawing.skies import Light


def draw_ground(canvas: Canvas, ground: str, horizon: float, sky: Light, rng: Random) -> None:
    """Draw the land from `horizon` down; mountains, woods and towers rise above it."""
    _GROUNDS[ground](canvas, horizon, sky, rng)


def _water(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    deep = light((18, 92, 146), sky.tint)
    near = mix(deep, sky.horizon, 0.62)
    canvas.gradient(
        [(0.0, near), (0.35, mix(deep, sky.horizon, 0.35)), (1.0, mix(deep, sky.horizon, 0.1))], top=horizon
    )
    for _ in range(round(60 * canvas.aspect)):
        depth = rng.random() ** 1.4
        y = horizon + 0.01 + depth * (0.98 - horizon)
        x, length = rng.uniform(0.0, canvas.aspect), 0.02 + 0.09 * depth
        crest = mix(sky.horizon, (255, 255, 255), 0.35)
        canvas.line([(x, y), (x + length, y)], crest, 0.004 + 0.007 * depth, alpha=130)
    if sky.sun_x is not None:
        for step in range(16):
            y = horizon + 0.01 + step / 16 * (0.95 - horizon)
            width = 0.05 + 0.05 * step / 16 + rng.uniform(-0.02, 0.03)
            canvas.line([(sky.sun_x - width, y), (sky.sun_x + width, y)], (255, 226, 150), 0.011, alpha=190)


def _mountains(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    for distance, rise in ((0.6, 0.4), (0.3, 0.3)):
        rock = mix(light((104, 100, 122), sky.tint), sky.horizon, distance * 0.6)
        shade = mix(rock, (20, 18, 40), 0.3)
        cap = mix(light((250, 250, 255), sky.tint, 0.7), sky.horizon, distance * 0.3)
        x = -rng.uniform(0.05, 0.25)
        while x < canvas.aspect:
            half = rng.uniform(0.22, 0.34)
            peak = (x + half * rng.uniform(0.8, 1.2), horizon - rise * rng.uniform(0.7, 1.0))
            _draw_peak(canvas, peak, half, horizon + 0.06, (rock, shade, cap))
            x += half * rng.uniform(0.9, 1.3)
    _draw_hill(canvas, horizon + 0.03, 0.02, light((92, 116, 82), sky.tint), rng)
    _draw_hill(canvas, horizon + 0.18, 0.03, light((76, 100, 66), sky.tint), rng)


def _draw_peak(canvas: Canvas, peak: Point, half: float, base: float, colours: tuple[Colour, Colour, Colour]) -> None:
    (x, y), (rock, shade, cap) = peak, colours
    canvas.polygon([(x - half, base), (x, y), (x + half, base)], rock)
    canvas.polygon([(x, y), (x + half, base), (x + half * 0.1, base), (x - half * 0.08, y + (base - y) * 0.5)], shade)
    snow = (base - y) * 0.26
    width = half * 0.26
    zigzag = [
        (x + width * s, y + snow * d) for s, d in ((1.0, 1.0), (0.45, 0.72), (0.05, 1.15), (-0.4, 0.75), (-1.0, 1.0))
    ]
    canvas.polygon([(x, y), *zigzag], cap)


def _desert(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    sands = ((238, 200, 132), (234, 186, 110), (222, 166, 90), (240, 192, 116))
    for row, sand in enumerate(sands):
        base = horizon + row * 0.11
        colour = mix(light(sand, sky.tint), sky.horizon, 0.18 - 0.06 * row if row < 3 else 0.0)
        _draw_hill(canvas, base, 0.045, colour, rng, waves=rng.uniform(0.8, 1.4))
        _draw_ripples(canvas, base + 0.05, mix(colour, (120, 70, 30), 0.3), rng)
    for _ in range(rng.randint(2, 3)):
        foot = (rng.uniform(0.05, 0.95) * canvas.aspect, horizon + rng.uniform(0.06, 0.16))
        _draw_cactus(canvas, foot, rng.uniform(0.1, 0.15), light((58, 122, 66), sky.tint, 0.8))


def _draw_ripples(canvas: Canvas, top: float, colour: Colour, rng: Random) -> None:
    for _ in range(round(4 * canvas.aspect)):
        x, y, length = rng.uniform(0.0, canvas.aspect), top + rng.uniform(0.0, 0.08), rng.uniform(0.08, 0.2)
        points = [(x + length * t / 6, y + 0.008 * math.sin(t)) for t in range(7)]
        canvas.line(points, colour, 0.005, alpha=130)


def _draw_cactus(canvas: Canvas, base: Point, size: float, colour: Colour) -> None:
    x, y = base
    canvas.line([(x, y), (x, y - size)], colour, size * 0.2)
    canvas.line(
        [(x, y - size * 0.4), (x + size * 0.32, y - size * 0.4), (x + size * 0.32, y - size * 0.8)], colour, size * 0.14
    )
    canvas.line(
        [(x, y - size * 0.3), (x - size * 0.3, y - size * 0.3), (x - size * 0.3, y - size * 0.62)], colour, size * 0.14
    )


def _forest(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    _draw_hill(canvas, horizon, 0.01, light((44, 84, 46), sky.tint), rng)
    for row, (green, size) in enumerate((((58, 112, 72), 0.3), ((34, 88, 50), 0.28), ((20, 66, 36), 0.25))):
        colour = mix(light(green, sky.tint), sky.horizon, 0.24 - 0.12 * row)
        x = rng.uniform(-0.05, 0.0)
        while x < canvas.aspect + 0.05:
            height = size * rng.uniform(0.75, 1.15)
            _draw_fir(canvas, (x, horizon + 0.04 + 0.05 * row), height, colour)
            x += rng.uniform(0.07, 0.11)
    _draw_hill(canvas, horizon + 0.16, 0.015, light((62, 106, 52), sky.tint), rng)
    for _ in range(round(30 * canvas.aspect)):
        x, y = rng.uniform(0.0, canvas.aspect), rng.uniform(horizon + 0.2, 1.0)
        canvas.line([(x, y), (x + 0.006, y - 0.025)], light((40, 80, 36), sky.tint), 0.005)


def _draw_fir(canvas: Canvas, base: Point, height: float, colour: Colour, *, snow: Colour | None = None) -> None:
    x, y = base
    shade = mix(colour, (0, 0, 0), 0.16)
    canvas.line([(x, y), (x, y - height * 0.2)], mix(colour, (60, 36, 20), 0.7), height * 0.08)
    for low, high, half in ((0.1, 0.55, 0.26), (0.35, 0.78, 0.2), (0.58, 1.0, 0.14)):
        left, right, tip = (
            (x - half * height, y - low * height),
            (x + half * height, y - low * height),
            (x, y - high * height),
        )
        canvas.polygon([left, tip, right], colour)
        canvas.polygon([(x, y - low * height), tip, right], shade)
        if snow:
            canvas.polygon(
                [
                    tip,
                    (x - half * height * 0.6, y - (low + (high - low) * 0.4) * height),
                    (x, y - (low + (high - low) * 0.55) * height),
                ],
                snow,
            )


def _city(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    lit = sky.tint[0] < 0.85
    for row, (grey, rise) in enumerate((((142, 150, 170), 0.4), ((92, 100, 124), 0.3))):
        wall = mix(light(grey, sky.tint), sky.horizon, 0.3 - 0.2 * row)
        x = -rng.uniform(0.0, 0.06)
        while x < canvas.aspect:
            width, top = rng.uniform(0.1, 0.17), horizon + 0.06 - rise * rng.uniform(0.45, 1.0)
            colour = mix(wall, light(rng.choice([(120, 92, 92), (84, 110, 132), (150, 140, 120)]), sky.tint), 0.35)
            canvas.rectangle((x, top, x + width, horizon + 0.1), colour)
            if rng.random() < 0.3:
                canvas.line([(x + width / 2, top), (x + width / 2, top - 0.06)], colour, 0.008)
            _draw_windows(canvas, (x, top, x + width, horizon + 0.06), colour, rng, lit=lit)
            x += width + rng.uniform(0.0, 0.02)
    road = light((88, 90, 98), sky.tint)
    canvas.gradient(
        [(0.0, light((134, 134, 138), sky.tint)), (0.12, road), (1.0, light((66, 68, 76), sky.tint))],
        top=horizon + 0.08,
    )
    for step in range(round(5 * canvas.aspect) + 1):
        x = (step + 0.2) * 0.22
        canvas.rectangle((x, 0.945, x + 0.12, 0.962), light((240, 236, 220), sky.tint, 0.7))


def _draw_windows(
    canvas: Canvas, box: tuple[float, float, float, float], wall: Colour, rng: Random, *, lit: bool
) -> None:
    left, top, right, bottom = box
    y = top + 0.02
    while y < bottom - 0.03:
        x = left + 0.016
        while x < right - 0.025:
            is_bright = lit and rng.random() < 0.55
            canvas.rectangle(
                (x, y, x + 0.017, y + 0.022), (255, 222, 130) if is_bright else mix(wall, (30, 40, 70), 0.45)
            )
            x += 0.033
        y += 0.043


def _field(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    _draw_hill(canvas, horizon - 0.03, 0.03, mix(light((142, 190, 96), sky.tint), sky.horizon, 0.25), rng)
    _draw_hill(canvas, horizon + 0.03, 0.012, light((126, 190, 66), sky.tint), rng)
    vanishing, crop = (rng.uniform(0.3, 0.7) * canvas.aspect, horizon - 0.05), light((92, 158, 44), sky.tint)
    for step in range(-9, 10):
        x = canvas.aspect / 2 + step * 0.26
        start = [vanishing[0] + (x - vanishing[0]) * t for t in (0.22, 1.0)]
        y = vanishing[1] + (1.02 - vanishing[1]) * 0.22
        canvas.polygon([(start[0], y), (start[1] - 0.065, 1.02), (start[1] + 0.065, 1.02)], crop)
    for _ in range(round(50 * canvas.aspect)):
        depth = rng.random()
        centre = (rng.uniform(0.0, canvas.aspect), horizon + 0.08 + depth * (0.92 - horizon))
        petal = light(rng.choice([(255, 244, 170), (250, 226, 90), (255, 255, 240)]), sky.tint, 0.7)
        canvas.ellipse(centre, 0.004 + 0.006 * depth, 0.003 + 0.005 * depth, petal)


def _snow(canvas: Canvas, horizon: float, sky: Light, rng: Random) -> None:
    white = light((246, 249, 255), sky.tint, 0.75)
    for row, blue in enumerate((0.24, 0.12, 0.0)):
        base = horizon - 0.02 + 0.13 * row
        colour = mix(white, light((150, 180, 226), sky.tint, 0.7), blue)
        _draw_hill(canvas, base, 0.035, colour, rng, waves=rng.uniform(0.6, 1.2))
        if row < 2:
            for share in (0.17, 0.5, 0.83):
                foot = ((share + rng.uniform(-0.14, 0.14)) * canvas.aspect, base + rng.uniform(0.04, 0.08))
                _draw_fir(canvas, foot, rng.uniform(0.12, 0.18), light((46, 92, 84), sky.tint, 0.8), snow=white)
    for _ in range(round(60 * canvas.aspect)):
        centre, radius = (rng.uniform(0.0, canvas.aspect), rng.uniform(0.0, 1.0)), rng.uniform(0.003, 0.008)
        canvas.ellipse(centre, radius, radius, (255, 255, 255), alpha=210)


def _draw_hill(canvas: Canvas, top: float, swing: float, colour: Colour, rng: Random, *, waves: float = 0.7) -> None:
    """Fill everything below a gently rolling line round `top`."""
    phase, other = rng.uniform(0.0, math.tau), rng.uniform(0.0, math.tau)
    steps = 24
    ridge = []
    for step in range(steps + 1):
        x = canvas.aspect * step / steps
        bend = math.sin(phase + waves * math.tau * x) + 0.4 * math.sin(other + 2.3 * waves * math.tau * x)
        ridge.append((x, top + swing * bend * 0.7))
    canvas.polygon([*ridge, (canvas.aspect, 1.02), (0.0, 1.02)], colour)


_GROUNDS: dict[str, Callable[[Canvas, float, Light, Random], None]] = {
    "water": _water,
    "mountains": _mountains,
    "desert": _desert,
    "forest": _forest,
    "city": _city,
    "field": _field,
    "snow": _snow,
}
