"""Finds the folder of a checkpoint's name; reads and writes its JSON files."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint

Name = str | os.PathLike[str]

# Arguments of transformers' from_pretrained that change nothing here: safetensors only, read lazily, no foreign code.
_WITHOUT_EFFECT = frozenset({"low_cpu_mem_usage", "use_safetensors", "trust_remote_code", "use_fast", "backend"})
_SAVE_OPTIONS = frozenset({"safe_serialization", "push_to_hub", "max_shard_size"})
_INSTEAD = {
    "quantization_config": "Quantized weights aren't supported: choose dtype=torch.bfloat16, which halves the memory.",
    "load_in_4bit": "Quantized weights aren't supported: choose dtype=torch.bfloat16, which halves the memory.",
    "load_in_8bit": "Quantized weights aren't supported: choose dtype=torch.bfloat16, which halves the memory.",
    "cache_dir": "The cache is huggingface_hub's: set HF_HOME.",
    "token": "The token is huggingface_hub's: set HF_TOKEN, or log in with its command line.",
    "local_files_only": "To use nothing but the cache, set HF_HUB_OFFLINE=1.",
    "subfolder": "Give the path of the folder itself.",
}


def find_folder(name: Name, revision: str | None = None) -> Path:
    """Find a checkpoint's folder; fetch it from the hub where it isn't in its cache yet.

    Args:
        name: `demo`, a folder, or a hub name such as `google/siglip2-base-patch16-224`.
        revision: A branch, tag or commit of the hub's; a folder has none.

    Raises:
        CheckpointError: If it names no checkpoint, or one of another architecture.
        DownloadError: If it can't be fetched.
    """
    text = os.fspath(name)
    is_folder = expand_user(text).is_dir()
    return resolve_checkpoint(text if revision is None or is_folder else f"{text}@{revision}")


def check_options(options: Mapping[str, Any], known: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Take the known ones out of further keyword arguments; ignore what has no effect, and refuse the rest.

    Raises:
        InvalidInputError: If one is unknown, or asks for something that can't be had.
    """
    for name, value in options.items():
        if name in _INSTEAD and value is not None and value is not False:
            raise InvalidInputError(f"{name} can't be used. {_INSTEAD[name]}")
        if name not in known | _WITHOUT_EFFECT | _INSTEAD.keys():
            raise InvalidInputError(f"There is no argument {name!r}.")
    return {name: value for name, value in options.items() if name in known}


def drop_save_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of further arguments of `save_pretrained` those of transformers that ask for what happens anyway.

    Raises:
        InvalidInputError: If one asks for something that isn't done.
    """
    if options.get("safe_serialization", True) is False:
        raise InvalidInputError(
            "safe_serialization=False can't be used: pickled weights can run code when they are opened and are never "
            "written. Leave it out."
        )
    if options.get("push_to_hub"):
        raise InvalidInputError(
            "push_to_hub can't be used: save to a folder, and upload that with huggingface_hub's `hf upload`."
        )
    return {name: value for name, value in options.items() if name not in _SAVE_OPTIONS}


def check_save_options(options: Mapping[str, Any]) -> None:
    """Check that there are no other further arguments of `save_pretrained` than those.

    Raises:
        InvalidInputError: If one is unknown, or asks for something that isn't done.
    """
    if unknown := drop_save_options(options):
        raise InvalidInputError(f"save_pretrained has no argument {min(unknown)!r}.")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file at once: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(path)
