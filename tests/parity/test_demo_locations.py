"""The demo checkpoint's maps: things of the demo world are found where they were drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.demo.world import EVALUATION_SEED, render_scene
from siglip_ingest.siglip.embedder import TorchEmbedder

FIRST_SEED = EVALUATION_SEED + 200_000
CASES = 100


@pytest.mark.slow
def test_peaks_lie_in_the_boxes_of_what_the_text_names(demo_checkpoint: Path) -> None:
    embedder = TorchEmbedder.from_checkpoint(demo_checkpoint, name="demo", device="cpu", dtype="float32")
    hits: list[bool] = []
    seed = FIRST_SEED
    while len(hits) < CASES:
        scene = render_scene(seed)
        seed += 1
        shown = scene.description
        items = {"thing": shown.thing, "flyer": shown.flyer}
        items |= {f"shape_{number}": shape for number, shape in enumerate(shown.shapes, start=1)}
        for role, item in items.items():
            if item is None or item.kind == "rainbow":
                continue
            text = f"a {item.colour} {item.kind}" if item.colour else item.kind
            values = embedder.locate_text(scene.image, text).contributions
            row, column = divmod(int(values.argmax()), values.shape[1])
            left, top, right, bottom = scene.boxes[role]
            hits.append(left <= (column + 0.5) / 8 <= right and top <= (row + 0.5) / 8 <= bottom)
    assert sum(hits) / len(hits) >= 0.92
