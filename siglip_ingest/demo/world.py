"""The demo world: images made from a seed, each with a caption and everything that is true of it.

Two families: landscapes (a sky over a ground, often with a thing standing there and something in the air) and pairs of
coloured shapes in a relation. `description` decides what is in an image, `drawing` draws it, `captions` puts it in
words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siglip_ingest.demo.captions import write_caption
from siglip_ingest.demo.description import GROUNDS, SKIES, Description, describe_scene
from siglip_ingest.demo.drawing.canvas import Box
from siglip_ingest.demo.drawing.scene import draw_scene

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["GROUNDS", "SKIES", "DemoImage", "Scene", "caption", "describe_scene", "render_scene", "write_images"]

DEFAULT_SIZE = (384, 288)
CALIBRATION_SEED = 5_000_000  # seeds below may have been trained on; those from here set the logit bias
EVALUATION_SEED = 10_000_000  # those from here are for measuring
DEMO_SEED = 20_000_000  # and those from here for showing


@dataclass(frozen=True)
class Scene:
    """An image and what is known of it.

    Attributes:
        image: RGB, of the size asked for.
        caption: A full caption, naming every attribute.
        sky: A word of `SKIES`, or None for shapes.
        ground: A word of `GROUNDS`, or None for shapes.
        attributes: What the caption names, as plain words (for metadata).
        description: The same, for code.
        boxes: Where each item is, by its role (`thing`, `flyer`, `shape_1`, `shape_2`): left, top, right and bottom as
            shares of the image's width and height.
    """

    image: Image.Image
    caption: str
    sky: str | None
    ground: str | None
    attributes: dict[str, str] = field(default_factory=dict)
    description: Description = field(default_factory=lambda: Description(0))
    boxes: dict[str, Box] = field(default_factory=dict)


class DemoImage(NamedTuple):
    """An image file, a caption that is true of it, and what it shows as plain words."""

    path: Path
    caption: str
    attributes: dict[str, str]


def caption(scene: Scene | Description, paraphrase_seed: int = 0) -> str:
    """Return a caption that names every attribute of a scene; other seeds give other words for the same."""
    description = scene.description if isinstance(scene, Scene) else scene
    return write_caption(description, random.Random(f"caption {paraphrase_seed}")).text  # noqa: S311


def render_scene(seed: int, size: int | tuple[int, int] = DEFAULT_SIZE) -> Scene:
    """Make the image of a seed with smooth edges.

    Args:
        seed: Seeds below `CALIBRATION_SEED` may have been trained on.
        size: Width and height in pixels, or one number for a square.
    """
    width, height = (size, size) if isinstance(size, int) else size
    description = describe_scene(seed)
    drawing = draw_scene(description, (2 * width, 2 * height))
    named = {"sky": description.sky, "ground": description.ground, "background": description.background}
    for role, item in (("thing", description.thing), ("flyer", description.flyer)):
        if item:
            named |= {role: item.kind, f"{role}_colour": item.colour, f"{role}_place": item.place}
    if description.shapes:
        named |= {"relation": description.relation}
        for number, shape in enumerate(description.shapes, start=1):
            named |= {f"shape_{number}": shape.kind, f"shape_{number}_colour": shape.colour}
    attributes = {"family": "landscape" if description.is_landscape else "shapes"} | {
        k: v for k, v in named.items() if v
    }
    return Scene(
        drawing.image.reduce(2),
        caption(description, seed),
        description.sky or None,
        description.ground or None,
        attributes,
        description,
        drawing.boxes,
    )


def write_images(
    folder: Path, count: int, *, seed: int = DEMO_SEED, size: int | tuple[int, int] = DEFAULT_SIZE
) -> list[DemoImage]:
    """Write the JPEGs of `count` seeds from `seed` on, named by what they show, such as `0001-sunset-over-water.jpg`.

    Args:
        folder: Made where it doesn't exist; files of the same names are replaced.
        count: How many.
        seed: The first one's.
        size: Width and height in pixels, or one number for a square.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number in range(count):
        scene = render_scene(seed + number, size)
        path = folder / f"{number + 1:04d}-{_name_file(scene.description)}.jpg"
        scene.image.save(path, "JPEG", quality=90)
        images.append(DemoImage(path, scene.caption, scene.attributes))
    return images


def _name_file(description: Description) -> str:
    if description.is_landscape:
        name = f"{description.sky} over {description.ground}"
    else:
        first, second = description.shapes
        name = f"{first.colour} {first.kind} {description.relation} {second.colour} {second.kind}"
    return name.replace(" ", "-")
