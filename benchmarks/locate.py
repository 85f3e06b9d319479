"""How often does the strongest place of a text's map lie on what the text names? The demo world knows where things are.

    python benchmarks/locate.py [--cases 500] [--compare]

Draws scenes from seeds that were never trained on and looks for each thing on the ground, each thing in the air (but
for rainbows, which span the image) and each shape, by its colour and its name. Counted is whether the peak lies in the
box that was drawn; by chance it does as often as the middle of a cell lies there. With `--compare` other ways are
measured on the same cases: fewer steps, the pooling head's gradient, occlusion. Takes one to five minutes and needs no
database.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from engine.measuring import print_table, print_title
from numpy.typing import NDArray

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.description import Item
from siglip_ingest.demo.world import EVALUATION_SEED, render_scene
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.inference.attribution import STEPS, cut
from siglip_ingest.siglip.inference.layers import Run

FIRST_SEED = EVALUATION_SEED + 100_000
WINDOW = 2  # patches a side that occlusion covers
GREY = 128
KINDS = {"thing": "on the ground", "flyer": "in the air", "shape": "shapes"}

Map = NDArray[np.float32]
Way = Callable[[NDArray[np.uint8], NDArray[np.float32]], Map]


class Case(NamedTuple):
    """An image as the model takes it, a text's vector, where what the text names is, and a key of `KINDS`."""

    pixels: NDArray[np.uint8]
    text: NDArray[np.float32]
    box: tuple[float, float, float, float]
    kind: str


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    embedder = TorchEmbedder.from_checkpoint(CHECKPOINT, name="demo", device="cpu", dtype="float32")
    cases = list(make_cases(embedder, arguments.cases))
    ways = {f"integrated gradients, {STEPS} steps": by_steps(embedder, STEPS)}
    if arguments.compare:
        ways |= {f"integrated gradients, {steps} steps": by_steps(embedder, steps) for steps in (1, 2, 4, 16)}
        ways |= {"gradient of the pooling head": through_head(embedder), "occlusion": by_occlusion(embedder)}
    print_title(f"{len(cases)} cases: share of peaks in the box")
    rows = [["chance", *split(cases, [chance(case) for case in cases]), None]]
    for name, way in ways.items():
        way(*cases[0][:2])  # reads the tower
        started = time.perf_counter()
        hits = [is_inside(find_peak(way(case.pixels, case.text)), case.box) for case in cases]
        rows.append([name, *split(cases, hits), 1000 * (time.perf_counter() - started) / len(cases)])
    print_table(("way", "all", *KINDS.values(), "ms an image"), rows)


def make_cases(embedder: TorchEmbedder, count: int) -> Iterator[Case]:
    """Draw scenes until there are so many cases."""
    made, seed = 0, FIRST_SEED
    while made < count:
        scene = render_scene(seed)
        seed += 1
        shown = scene.description
        items: dict[str, Item | None] = {"thing": shown.thing, "flyer": shown.flyer}
        items |= {f"shape_{number}": shape for number, shape in enumerate(shown.shapes, start=1)}
        pixels = embedder.prepare_image(scene.image)
        for role, item in items.items():
            if item is None or item.kind == "rainbow" or made == count:
                continue
            made += 1
            text = embedder.embed_texts([f"a {item.colour} {item.kind}" if item.colour else item.kind])[0]
            yield Case(pixels, text, scene.boxes[role], role.partition("_")[0])


def by_steps(embedder: TorchEmbedder, steps: int) -> Way:
    """What `locate` does, with so many steps."""
    return lambda pixels, text: embedder.locate_vector(pixels, text, steps=steps).contributions


def through_head(embedder: TorchEmbedder) -> Way:
    """The gradient of the similarity through the pooling head alone, times the patches' last states."""
    tower, config = embedder._model.plain_tower, embedder._model.config.vision_config
    side = config.patches_per_side

    def locate(pixels: NDArray[np.uint8], text: NDArray[np.float32]) -> Map:
        with torch.no_grad():
            x = tower.embed(cut(torch.tensor(pixels), config.patch_size), tower.positions)
            for layer in tower.layers:
                x = layer(x, [Run(1, side**2)])
            x = tower.norm(x)
        x.requires_grad_()
        similarity = F.normalize(tower.head([x[None]]), dim=-1)[0] @ torch.tensor(text)
        (gradient,) = torch.autograd.grad(similarity, x)
        return (gradient * x).sum(dim=-1).reshape(side, side).detach().numpy()  # type: ignore[no-any-return]

    return locate


def by_occlusion(embedder: TorchEmbedder) -> Way:
    """How far the similarity falls where a window is grey: the mean over the windows that cover a patch."""
    config = embedder._model.config.vision_config
    side, size = config.patches_per_side, config.patch_size
    corners = [(row, column) for row in range(side - WINDOW + 1) for column in range(side - WINDOW + 1)]

    def locate(pixels: NDArray[np.uint8], text: NDArray[np.float32]) -> Map:
        covered = np.repeat(pixels[None], len(corners), axis=0)
        for image, (row, column) in zip(covered, corners, strict=True):
            image[row * size : (row + WINDOW) * size, column * size : (column + WINDOW) * size] = GREY
        whole, *rest = embedder.embed_pixels([pixels, *covered]) @ text
        total, count = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
        for similarity, (row, column) in zip(rest, corners, strict=True):
            total[row : row + WINDOW, column : column + WINDOW] += whole - similarity
            count[row : row + WINDOW, column : column + WINDOW] += 1
        return total / count

    return locate


def find_peak(values: Map) -> tuple[float, float]:
    """The middle of the strongest cell, (x, y) in [0, 1]."""
    rows, columns = values.shape
    row, column = divmod(int(values.argmax()), columns)
    return (column + 0.5) / columns, (row + 0.5) / rows


def is_inside(point: tuple[float, float], box: tuple[float, float, float, float]) -> bool:
    """Whether a point lies in a box."""
    left, top, right, bottom = box
    return left <= point[0] <= right and top <= point[1] <= bottom


def chance(case: Case, side: int = 8) -> float:
    """Share of the cells whose middles lie in a case's box."""
    middles = (np.arange(side) + 0.5) / side
    return float(np.mean([is_inside((x, y), case.box) for x in middles for y in middles]))


def split(cases: list[Case], values: list[float] | list[bool]) -> list[str]:
    """The mean over all cases, and over each kind."""
    chosen = [list(values), *([v for v, c in zip(values, cases, strict=True) if c.kind == kind] for kind in KINDS)]
    return [f"{np.mean(part):.3f}" for part in chosen]


if __name__ == "__main__":
    main()
