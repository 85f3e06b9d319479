"""Checkpoints in the published layout: a folder with config.json and model.safetensors. Pickles are never opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from siglip_ingest.errors import CheckpointError
from siglip_ingest.model.config import SiglipConfig, config_from_dict
from siglip_ingest.model.siglip import SiglipModel

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX_FILE = "model.safetensors.index.json"
# Scores multiply every similarity by these two, so they are never rounded to a narrower dtype.
CONSTANT_NAMES = ("logit_scale", "logit_bias")
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
GIT_LFS_HEADER = b"version https://git-lfs"


def read_config(folder: Path) -> SiglipConfig:
    """Read a checkpoint's config.json.

    Raises:
        CheckpointError: If it is missing, not JSON, or describes another architecture.
    """
    path = folder / CONFIG_FILE
    values = read_json(path)
    try:
        return config_from_dict(values)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


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


def find_weight_files(folder: Path) -> list[Path]:
    """List a checkpoint's safetensors files: one, or the shards that its index names, sorted.

    Raises:
        CheckpointError: If there are none, or only pickles, or a shard is missing.
    """
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / WEIGHTS_INDEX_FILE).is_file():
        index = read_json(folder / WEIGHTS_INDEX_FILE).get("weight_map")
        if not isinstance(index, dict) or not index:
            raise CheckpointError(f"{folder / WEIGHTS_INDEX_FILE} has no weight_map.")
        names = sorted({str(name) for name in index.values()})
        if missing := [name for name in names if Path(name).name != name or not (folder / name).is_file()]:
            raise CheckpointError(f"{folder} lacks {', '.join(missing)}, which {WEIGHTS_INDEX_FILE} names.")
        return [folder / name for name in names]
    if pickles := sorted(path.name for pattern in PICKLE_PATTERNS for path in folder.glob(pattern)):
        raise CheckpointError(
            f"{folder} has its weights only as {', '.join(pickles)}. Pickled files can run code when they are opened "
            f"and are never loaded: convert them to {WEIGHTS_FILE} first."
        )
    raise CheckpointError(f"{folder} is not a checkpoint: it has no {WEIGHTS_FILE}.")


def load_model(folder: Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> SiglipModel:
    """Load a checkpoint for inference.

    Args:
        folder: Holds config.json and model.safetensors, or the latter in shards with an index.
        device: Where the weights go.
        dtype: What they are converted to, but for `logit_scale` and `logit_bias`, which stay float32.

    Returns:
        The model in evaluation mode. Its parameters don't record gradients until `requires_grad_()`.

    Raises:
        CheckpointError: If a file is missing or broken, or names and shapes aren't exactly those the config asks for.
    """
    with torch.device("meta"):
        model = SiglipModel(read_config(folder))
    expected = model.state_dict()
    tensors: dict[str, Tensor] = {}
    for path in find_weight_files(folder):
        for name, tensor in _read_tensors(path, expected):
            tensors[name] = tensor.to(device=device, dtype=torch.float32 if name in CONSTANT_NAMES else dtype)
    if missing := expected.keys() - tensors.keys():
        raise CheckpointError(f"{folder} lacks {_name_some(missing)}, which its config.json asks for.")
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.requires_grad_(False).eval()


def save_checkpoint(model: SiglipModel, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write config.json and model.safetensors as transformers and `load_model` read them.

    Args:
        model: What to save; it isn't changed.
        folder: Made where it doesn't exist. Files of those two names are replaced, each at once.
        dtype: What the weights are stored as, but for `logit_scale` and `logit_bias`, which are stored as float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in model.state_dict().items():
        stored_dtype = torch.float32 if name in CONSTANT_NAMES else dtype
        tensors[name] = tensor.detach().to(device="cpu", dtype=stored_dtype).contiguous()
    partial = folder / f"{WEIGHTS_FILE}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / WEIGHTS_FILE)
    config = model.config.to_dict() | {"torch_dtype": str(dtype).removeprefix("torch.")}
    partial = folder / f"{CONFIG_FILE}.partial"
    partial.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial.replace(folder / CONFIG_FILE)


def _read_tensors(path: Path, expected: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield a file's tensors, each checked against the model's own.

    Raises:
        CheckpointError: If the file can't be read, or a tensor's name or shape is not the model's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            if unknown := set(file.keys()) - expected.keys():
                raise CheckpointError(
                    f"{path} has {_name_some(unknown)}, which a SigLIP model of its config.json lacks."
                )
            for name in file.keys():  # noqa: SIM118  (not a dict: it can't be iterated)
                found, wanted = list(file.get_slice(name).get_shape()), list(expected[name].shape)
                if found != wanted:
                    raise CheckpointError(f"{path}: {name} has the shape {found}, but config.json asks for {wanted}.")
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        if _starts_with(path, GIT_LFS_HEADER):
            raise CheckpointError(
                f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its folder."
            ) from error
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}). It may have been cut off: fetch the checkpoint again."
        ) from error


def _starts_with(path: Path, header: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(header)) == header
    except OSError:
        return False


def _name_some(names: set[str]) -> str:
    """Name up to three tensors, and count the others."""
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")
