"""Finds a checkpoint's weight files, in one piece or in shards, and reads its JSON files. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from siglip_ingest.errors import CheckpointError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def find_weight_files(folder: Path) -> list[Path]:
    """List a checkpoint's safetensors files: one, or the shards that its index names, sorted.

    Raises:
        CheckpointError: If there are none, or only pickles, or a shard is missing.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / WEIGHTS_INDEX_FILE).is_file():
        names = sorted(set(read_weights_index(folder / WEIGHTS_INDEX_FILE).values()))
        if outside := [name for name in names if Path(name).name != name]:
            raise CheckpointError(
                f"{folder} lacks {outside[0]!r}: {WEIGHTS_INDEX_FILE} may name only files of its own folder."
            )
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise CheckpointError(f"{folder} lacks {', '.join(missing)}, which {WEIGHTS_INDEX_FILE} names.")
        return [folder / name for name in names]
    if pickles := sorted(path.name for pattern in PICKLE_PATTERNS for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{folder} has its weights only as {', '.join(pickles)}. Pickled files can run code when they are opened "
            f"and are never loaded: convert them to {WEIGHTS_FILE} first."
        )
    raise CheckpointError(f"{folder} is not a checkpoint: it has no {WEIGHTS_FILE}.")


def read_json(path: Path) -> dict[str, Any]:
    """Read one of a checkpoint's JSON files, which hold an object each.

    Raises:
        CheckpointError: If it is missing, can't be read, or isn't a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} is not a checkpoint: it has no {path.name}.") from error
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}). Fetch the checkpoint again.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds a {type(values).__name__}, expected a JSON object.")
    return values


def read_weights_index(path: Path) -> dict[str, str]:
    """Read which tensor lies in which shard, from an index.

    Raises:
        CheckpointError: If the file can't be read or has no weight_map.
    """
    index = read_json(path).get("weight_map")
    if not isinstance(index, dict) or not index:
        raise CheckpointError(f"{path} has no weight_map.")
    return {name: str(shard) for name, shard in index.items()}
