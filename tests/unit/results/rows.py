"""Results of every kind, and a reader of small images."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from siglip_ingest.results import ImageResults, Results
from siglip_ingest.types import ImageMatch, LabeledImage, LabelMatch, LabelScore, Representative
from tests.images import encode, make_image

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
PNG = encode(make_image(40, 30), "PNG")

ROWS: dict[str, list[Any]] = {
    "matches": [ImageMatch(7, "file:///photos/a%20b.jpg", 0.25, 0.8734, {"album": "<2026>"})],
    "labels": [LabelMatch(7, "file:///a.jpg", 0.5, {}, {"sunset": 0.9, "sea": 0.5})],
    "labeled": [LabeledImage(7, "file:///a.jpg", True, None, "me", NOW, {"n": 1})],
    "representatives": [Representative(7, "file:///a.jpg", 12, 0.7, {})],
}
SCORES = Results([LabelScore("sunset", 0.75), LabelScore("<sea>", 0.25)], LabelScore)


def read_png(image_id: int, uri: str, timeout_s: float) -> bytes:
    return PNG


def results_of(kind: str) -> ImageResults[Any]:
    return ImageResults(ROWS[kind], type(ROWS[kind][0]), read_png)


def matches(count: int, read_image: Any = read_png) -> ImageResults[ImageMatch]:
    rows = [ImageMatch(n, f"file:///photos/{n}.jpg", 0.5, 1 / (1 + n)) for n in range(count)]
    return ImageResults(rows, ImageMatch, read_image)
