"""The table of `models list`: published checkpoints, those on this disk, and what their sizes amount to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siglip_ingest.siglip.checkpoint.download import find_cached, has_cache, is_complete, list_pinned_repositories
from siglip_ingest.siglip.checkpoint.family import BYTES_PER_PARAMETER, FAMILY, ModelSize, measure
from siglip_ingest.siglip.checkpoint.names import DEMO_FOLDER, DEMO_NAME, HubName

HEADINGS = ("checkpoint", "dim", "pixels", "params", "float32", "bfloat16", "GFLOP", "here")


def describe_checkpoints() -> list[dict[str, Any]]:
    """Every published checkpoint, and others that were fetched from the hub, with figures in bytes and operations."""
    published = {checkpoint.name: checkpoint.figures for checkpoint in FAMILY}
    others = {name: _measure_folder(folder) for name, folder in _find_others() if name not in published}
    return [_describe(name, figures) for name, figures in (published | others).items()]


def to_cells(rows: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows under `HEADINGS`, figures with their units to the right."""
    return _align([_to_cells(row) for row in rows])


def count_bytes(folder: Path) -> int:
    """Bytes of the files of a folder, without those in folders in it."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def format_bytes(count: int) -> str:
    """Say a number of bytes in the unit that fits, as disks and hubs do: 1 GB is 10^9 bytes."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {units[0]}"


def _find_others() -> Iterator[tuple[str, Path]]:
    """The checkpoint that comes along, and those that were downloaded from the hub, fine-tuned ones for instance."""
    yield DEMO_NAME, DEMO_FOLDER
    for name in list_pinned_repositories() if has_cache() else ():
        if folder := _find_folder(name):
            yield name, folder


def _find_folder(name: str) -> Path | None:
    """The folder of a checkpoint that is here completely."""
    if name == DEMO_NAME:
        return DEMO_FOLDER
    folder = find_cached(HubName(name)) if has_cache() else None
    return folder if folder is not None and is_complete(folder) else None


def _measure_folder(folder: Path) -> ModelSize:
    return measure(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def _describe(name: str, figures: ModelSize) -> dict[str, Any]:
    folder = _find_folder(name)
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
        "is_here": folder is not None,
        "revision": None if folder is None or name == DEMO_NAME else folder.name,
        "disk_bytes": 0 if folder is None else count_bytes(folder),
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
        "yes" if row["is_here"] else "",
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
