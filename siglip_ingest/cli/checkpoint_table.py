"""The table of `models list`: published checkpoints, those on this disk, and what their sizes amount to."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siglip_ingest.siglip.checkpoint.family import BYTES_PER_PARAMETER, FAMILY, Figures, measure
from siglip_ingest.siglip.checkpoint.hub import DEMO_FOLDER, DEMO_NAME, HubName, format_bytes
from siglip_ingest.siglip.checkpoint.hub.cache import (
    CachedSnapshot,
    find_cached,
    has_cache_folder,
    list_pinned_repositories,
)

HEADINGS = ("checkpoint", "dim", "pixels", "params", "float32", "bfloat16", "GFLOP", "here")


def describe_checkpoints() -> list[dict[str, Any]]:
    """Every published checkpoint, and others that were fetched from the hub, with figures in bytes and operations."""
    published = {checkpoint.name: checkpoint.figures for checkpoint in FAMILY}
    others = {name: _measure_folder(folder) for name, folder in _find_others() if name not in published}
    return [_describe(name, figures) for name, figures in (published | others).items()]


def to_cells(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows under `HEADINGS`, figures with their units to the right."""
    return _align([_to_cells(row) for row in rows])


def has_hub_client() -> bool:
    """True where huggingface_hub is installed."""
    return importlib.util.find_spec("huggingface_hub") is not None


def _has_cache() -> bool:
    return has_hub_client() and has_cache_folder()


def _find_others() -> Iterator[tuple[str, Path]]:
    """The checkpoint that comes along, and those that were fetched from the hub, fine-tuned ones for instance."""
    yield DEMO_NAME, DEMO_FOLDER
    if _has_cache():
        for name in list_pinned_repositories():
            cached = find_cached(HubName(name))
            if cached is not None and cached.is_whole:
                yield name, cached.folder


def _measure_folder(folder: Path) -> Figures:
    return measure(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _find_snapshot(name: str) -> CachedSnapshot | None:
    if name == DEMO_NAME:
        return CachedSnapshot(DEMO_FOLDER, "", is_whole=True, is_pinned=False)
    return find_cached(HubName(name)) if _has_cache() else None


def _describe(name: str, figures: Figures) -> dict[str, Any]:
    cached = _find_snapshot(name)
    return {
        "name": name,
        "dimension": figures.dimension,
        "image_size": figures.image_size,
        "num_patches": figures.num_patches,
        "max_text_length": figures.max_text_length,
        "parameters": figures.parameters,
        "text_parameters": figures.text_parameters,
        "vision_parameters": figures.vision_parameters,
        **{f"{dtype}_bytes": figures.memory_bytes(dtype) for dtype in BYTES_PER_PARAMETER},
        "image_flop": figures.image_flop,
        "text_flop": figures.text_flop,
        "on_disk": None if cached is None else "whole" if cached.is_whole else "part",
        "revision": None if cached is None else cached.commit or None,
        "is_pinned": cached is not None and cached.is_pinned,
        "disk_bytes": 0 if cached is None else cached.size_bytes,
    }


def _to_cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        str(row["dimension"]),
        "NaFlex" if row["image_size"] is None else str(row["image_size"]),
        _count(row["parameters"]),
        format_bytes(row["float32_bytes"]),
        format_bytes(row["bfloat16_bytes"]),
        f"{row['image_flop'] / 1e9:.1f}" if row["image_flop"] >= 5e7 else "< 0.1",
        {"whole": "yes", "part": "part"}.get(row["on_disk"], ""),
    )


def _count(number: int) -> str:
    if number < 999_500:
        return f"{number / 1e3:.0f} k"
    return f"{number / 1e6:.0f} M" if number < 999_500_000 else f"{number / 1e9:.2f} B"


def _align(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Put figures with their units to the right, as `print_table` does with plain numbers."""
    widths = [max(len(text) for text in column) for column in zip(*rows, strict=True)]
    return [
        (row[0], *(text.rjust(width) for text, width in zip(row[1:-1], widths[1:-1], strict=True)), row[-1])
        for row in rows
    ]
