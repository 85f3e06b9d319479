"""Draws whole images from descriptions."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from siglip_ingest.demo.description import COLOURS, Description
from siglip_ingest.demo.drawing.canvas import Box, Canvas, light
from siglip_ingest.demo.drawing.flyers import draw_flyer
from siglip_ingest.demo.drawing.grounds import draw_ground
from siglip_ingest.demo.drawing.shapes import background_colour, draw_background, draw_shape
from siglip_ingest.demo.drawing.skies import draw_sky
from siglip_ingest.demo.drawing.things import draw_thing

if TYPE_CHECKING:
    from PIL import Image


class Drawing(NamedTuple):
    """What was drawn.

    Attributes:
        image: RGB.
        boxes: Where each item is, by its role (`thing`, `flyer`, `shape_1`, `shape_2`): left, top, right and bottom as
            shares of width and height.
    """

    image: Image.Image
    boxes: dict[str, Box]


def draw_scene(description: Description, size: tuple[int, int]) -> Drawing:
    """Draw a description at `size` (width, height) pixels, RGB, with Pillow's plain, unsmoothed edges."""
    canvas = Canvas(*size)
    rng = random.Random(f"look {description.seed}")  # noqa: S311
    draw = _draw_landscape if description.is_landscape else _draw_shapes
    return Drawing(canvas.image, draw(canvas, description, rng))


def _draw_landscape(canvas: Canvas, description: Description, rng: random.Random) -> dict[str, Box]:
    boxes = {}
    horizon = rng.uniform(0.55, 0.64)
    sky = draw_sky(canvas, description.sky, horizon, rng)
    flyer, thing = description.flyer, description.thing
    if flyer:
        size = rng.uniform(0.24, 0.29)
        centre = (_find_x(canvas, flyer.place, size, rng), rng.uniform(0.17, 0.2))
        canvas.take_box()
        draw_flyer(canvas, flyer.kind, centre, size, colour=COLOURS.get(flyer.colour), rng=rng)
        boxes["flyer"] = canvas.take_box()
    draw_ground(canvas, description.ground, horizon, sky, rng)
    if thing:
        size = rng.uniform(0.34, 0.42)
        base = (_find_x(canvas, thing.place, size, rng), rng.uniform(0.86, 0.93))
        if description.ground == "water" and thing.kind != "boat":
            canvas.ellipse((base[0], base[1] + 0.01), size * 0.68, 0.045, light((150, 128, 96), sky.tint))
            canvas.ellipse((base[0], base[1] - 0.002), size * 0.64, 0.036, light((206, 184, 136), sky.tint))
        elif thing.kind != "boat":
            canvas.ellipse((base[0], base[1]), size * 0.58, 0.022, (20, 20, 30), alpha=80)
        canvas.take_box()
        draw_thing(canvas, thing.kind, base, size, light(COLOURS[thing.colour], sky.tint, 0.2))
        boxes["thing"] = canvas.take_box()
    return boxes


def _find_x(canvas: Canvas, place: str, size: float, rng: random.Random) -> float:
    share = {"left": 0.2, "middle": 0.5, "right": 0.8}.get(place, 0.5) + rng.uniform(-0.035, 0.035)
    margin = 0.6 * size
    return min(max(share * canvas.aspect, margin), canvas.aspect - margin)


def _draw_shapes(canvas: Canvas, description: Description, rng: random.Random) -> dict[str, Box]:
    draw_background(canvas, description.background, rng)
    middle, hole = canvas.aspect / 2, background_colour(description.background)
    along, across = rng.uniform(0.235, 0.26), rng.uniform(-0.09, 0.09)
    radii = [rng.uniform(0.17, 0.22), rng.uniform(0.17, 0.22)]
    if description.relation == "left of":
        reach = along * min(max(canvas.aspect, 0.9), 1.35)
        centres = [(middle - reach, 0.5 + across), (middle + reach, 0.5 - across)]
    elif description.relation == "above":
        centres = [(middle + across, 0.5 - along), (middle - across, 0.5 + along)]
    else:
        spot = (middle + rng.uniform(-0.08, 0.08), 0.5 + rng.uniform(-0.05, 0.05))
        centres, radii = [spot, spot], [rng.uniform(0.15, 0.18), rng.uniform(0.4, 0.43)]
    order = (1, 0) if description.relation == "inside" else (0, 1)
    boxes = {}
    for index in order:
        canvas.take_box()
        item = description.shapes[index]
        behind = COLOURS[description.shapes[1].colour] if description.relation == "inside" and index == 0 else hole
        draw_shape(
            canvas,
            item.kind,
            centres[index],
            radii[index],
            turn=rng.uniform(-0.16, 0.16),
            colour=COLOURS[item.colour],
            hole=behind,
        )
        boxes[f"shape_{index + 1}"] = canvas.take_box()
    return boxes
