"""Draws the skies of the demo world."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from siglip_ingest.demo.drawing.canvas import Canvas, Colour, mix


@dataclass(frozen=True, slots=True)
class Light:
    """What a sky does to the land below it.

    Attributes:
        tint: Factors on red, green and blue of lit ground.
        horizon: The colour of the sky where it meets the land; water and haze take it up.
        sun_x: Where a low sun stands, in units of the image's height, or None.
    """

    tint: tuple[float, float, float]
    horizon: Colour
    sun_x: float | None = None


def draw_sky(canvas: Canvas, sky: str, horizon: float, rng: Random) -> Light:
    """Fill the canvas down to below `horizon` and return the light it casts."""
    return _SKIES[sky](canvas, horizon, rng)


def _sunset(canvas: Canvas, horizon: float, rng: Random) -> Light:
    top, middle, low, rim = rng.choice(
        [
            ((58, 36, 98), (190, 66, 110), (250, 130, 70), (255, 206, 110)),
            ((72, 44, 110), (222, 86, 84), (252, 146, 62), (255, 220, 130)),
            ((40, 44, 96), (168, 70, 120), (244, 112, 84), (255, 190, 96)),
        ]
    )
    canvas.gradient([(0.0, top), (0.45, middle), (0.8, low), (1.0, rim)], bottom=horizon + 0.1)
    sun_x = rng.uniform(0.3, 0.7) * canvas.aspect
    sun_y = horizon - rng.uniform(0.0, 0.08)
    canvas.glow((sun_x, sun_y), 0.5, (255, 232, 160), 0.75, bottom=horizon + 0.1)
    canvas.ellipse((sun_x, sun_y), 0.085, 0.085, (255, 240, 190))
    for _ in range(rng.randint(3, 6)):
        centre = (rng.uniform(0.0, canvas.aspect), rng.uniform(0.08, horizon - 0.12))
        length = rng.uniform(0.15, 0.4)
        canvas.ellipse(centre, length, rng.uniform(0.006, 0.014), mix(middle, (255, 210, 170), 0.5), alpha=120)
    return Light((0.80, 0.62, 0.60), low, sun_x)


def _night(canvas: Canvas, horizon: float, rng: Random) -> Light:
    rim = rng.choice([(44, 62, 112), (38, 54, 96), (58, 62, 116)])
    canvas.gradient([(0.0, (6, 9, 30)), (0.6, (16, 24, 62)), (1.0, rim)], bottom=horizon + 0.1)
    band_x, slope = rng.uniform(0.2, 0.8) * canvas.aspect, rng.uniform(-0.9, 0.9)
    for step in range(7):
        y = step / 7 * horizon
        canvas.glow((band_x + slope * y, y), 0.22, (120, 130, 190), 0.16, bottom=horizon)
    for _ in range(round(110 * canvas.aspect)):
        centre = (rng.uniform(0.0, canvas.aspect), rng.uniform(0.0, horizon))
        radius = rng.choice([0.003, 0.003, 0.004, 0.0055, 0.008])
        canvas.ellipse(centre, radius, radius, (255, 255, 236), alpha=rng.randint(150, 255))
    return Light((0.34, 0.38, 0.54), rim)


def _clear(canvas: Canvas, horizon: float, rng: Random) -> Light:
    top = rng.choice([(28, 104, 206), (38, 122, 216), (22, 112, 196)])
    rim = (186, 224, 246)
    canvas.gradient([(0.0, top), (0.6, mix(top, rim, 0.55)), (1.0, rim)], bottom=horizon + 0.1)
    if rng.random() < 0.5:
        sun = (rng.uniform(0.0, canvas.aspect), -0.02)
        canvas.glow(sun, 0.42, (255, 255, 236), 0.9)
    return Light((1.0, 1.0, 0.97), rim)


def _cloudy(canvas: Canvas, horizon: float, rng: Random) -> Light:
    top, rim = rng.choice([((122, 150, 180), (206, 216, 224)), ((136, 156, 176), (214, 218, 220))])
    canvas.gradient([(0.0, top), (1.0, rim)], bottom=horizon + 0.1)
    for row in range(3):
        for _ in range(round((3 + row) * canvas.aspect)):
            centre = (
                rng.uniform(-0.05, canvas.aspect + 0.05),
                horizon * (0.14 + 0.26 * row) + rng.uniform(-0.06, 0.06),
            )
            size = rng.uniform(0.13, 0.2) * (1 - 0.2 * row)
            _draw_cloud(canvas, centre, size, rng, lit=(246, 247, 249), shade=(176, 186, 198))
    return Light((0.86, 0.88, 0.90), rim)


def _storm(canvas: Canvas, horizon: float, rng: Random) -> Light:
    rim = rng.choice([(104, 112, 116), (94, 106, 110), (112, 112, 122)])
    canvas.gradient([(0.0, (34, 38, 50)), (0.6, (66, 72, 84)), (1.0, rim)], bottom=horizon + 0.1)
    for _ in range(round(9 * canvas.aspect)):
        centre = (rng.uniform(-0.05, canvas.aspect + 0.05), rng.uniform(0.0, 0.2))
        _draw_cloud(canvas, centre, rng.uniform(0.14, 0.22), rng, lit=(78, 84, 98), shade=(38, 42, 54))
    for _ in range(rng.choice([1, 2])):
        _draw_bolt(canvas, rng.uniform(0.12, 0.88) * canvas.aspect, horizon, rng)
    for _ in range(round(70 * canvas.aspect)):
        x, y = rng.uniform(0.0, canvas.aspect + 0.1), rng.uniform(0.15, horizon)
        canvas.line([(x, y), (x - 0.02, y + 0.07)], (190, 200, 214), 0.0035, alpha=90)
    return Light((0.52, 0.56, 0.62), rim)


def _draw_cloud(
    canvas: Canvas, centre: tuple[float, float], size: float, rng: Random, *, lit: Colour, shade: Colour
) -> None:
    x, y = centre
    puffs = [(x + dx * size, y - lift * size, size * r) for dx, lift, r in _PUFFS]
    wobble = [(px + rng.uniform(-0.1, 0.1) * size, py + rng.uniform(-0.08, 0.08) * size, r) for px, py, r in puffs]
    for dy, colour in ((0.16, shade), (0.06, mix(shade, lit, 0.6)), (-0.04, lit)):
        for px, py, radius in wobble:
            canvas.ellipse((px, py + dy * size), radius * 1.1, radius * 0.72, colour)


def _draw_bolt(canvas: Canvas, x: float, horizon: float, rng: Random) -> None:
    y, points = 0.12, [(x, 0.12)]
    while y < horizon:
        x, y = x + rng.uniform(-0.07, 0.07), y + rng.uniform(0.05, 0.1)
        points.append((x, min(y, horizon)))
    canvas.glow(points[len(points) // 2], 0.3, (214, 220, 255), 0.35, bottom=horizon)
    canvas.line(points, (206, 214, 255), 0.026, alpha=110)
    canvas.line(points, (255, 253, 226), 0.013)
    fork = points[len(points) // 2]
    angle = rng.choice([-1, 1]) * rng.uniform(0.5, 0.9)
    canvas.line([fork, (fork[0] + 0.14 * math.sin(angle), fork[1] + 0.12)], (255, 253, 226), 0.008)


# Puffs of one cloud: offset along, lift, radius, in units of the cloud's size.
_PUFFS = ((-0.75, 0.0, 0.42), (-0.3, 0.25, 0.55), (0.2, 0.3, 0.6), (0.65, 0.05, 0.45), (0.0, 0.0, 0.55))

_SKIES: dict[str, Callable[[Canvas, float, Random], Light]] = {
    "sunset": _sunset,
    "night sky": _night,
    "clear sky": _clear,
    "cloudy sky": _cloudy,
    "storm": _storm,
}
