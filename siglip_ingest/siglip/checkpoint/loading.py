"""Loads a SigLIP model from a folder with config.json and model.safetensors, and saves one. Never opens a pickle."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE, WEIGHTS_FILE, read_json
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.model.config import SiglipConfig, config_from_dict
from siglip_ingest.siglip.model.siglip import SiglipModel

# Scores multiply every similarity by these two, so they are never rounded to a narrower dtype.
CONSTANT_NAMES = ("logit_scale", "logit_bias")
TOWERS = ("text_model", "vision_model")
FAMILY_PARTS = (*TOWERS, "classifier", *CONSTANT_NAMES)


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


def load_model(
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    towers: Sequence[str] = TOWERS,
) -> SiglipModel:
    """Load a checkpoint.

    On the CPU and in the files' own dtype the weights are the mapped files: nothing is copied.

    Args:
        folder: Holds config.json and model.safetensors, or the latter in shards with an index.
        device: Where the weights go.
        dtype: What they are converted to, but for `logit_scale` and `logit_bias`, which stay float32.
        towers: Of `TOWERS`, which are read. The other one's weights aren't; it stays on the meta device and can't run.

    Returns:
        The model in evaluation mode. Its parameters don't record gradients until `requires_grad_()`.

    Raises:
        CheckpointError: If a file is missing or broken, or names and shapes aren't exactly those the config asks for.
    """
    with torch.device("meta"):
        model = SiglipModel(read_config(folder))
    reader = WeightReader(folder)
    names = model.state_dict().keys()
    skipped = {name for tower in TOWERS if tower not in towers for name in names if name.startswith(f"{tower}.")}
    load_weights(model, reader, device=device, dtype=dtype, skipped=skipped)
    return model.requires_grad_(False).eval()


def load_weights(
    model: nn.Module,
    reader: WeightReader,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    skipped: Collection[str] = (),
) -> None:
    """Fill a model that was made on the meta device.

    Args:
        model: Any part of the family whose parameters carry the checkpoint's names.
        reader: The checkpoint.
        device: Where the weights go.
        dtype: What they are converted to, but for the two constants.
        skipped: Names that aren't read, whether the model has them, the checkpoint, or both.

    Raises:
        CheckpointError: If names, shapes or dtypes don't fit.
    """
    expected = {name: tensor for name, tensor in model.state_dict().items() if name not in skipped}
    reader.check(expected, unused=skipped)
    tensors = {
        name: reader.read(name, device=device, dtype=torch.float32 if name in CONSTANT_NAMES else dtype)
        for name in expected
    }
    model.load_state_dict(tensors, strict=False, assign=True)  # `check` was strict about all but the skipped ones


def load_part(
    model: nn.Module,
    reader: WeightReader,
    *,
    device: str | torch.device | Mapping[str, torch.device] = "cpu",
    dtype: torch.dtype = torch.float32,
    prefix: str = "",
    drawn: Collection[str] = (),
) -> None:
    """Fill a part of the family that was made on the meta device; tensors of the other parts stay unread.

    Args:
        model: A tower, a classifier or both towers.
        reader: The checkpoint, of this part or of more.
        device: Where the weights go; or where each of `TOWERS` goes, and under "" all else.
        dtype: What they are converted to, but for the two constants.
        prefix: In front of the model's names in the checkpoint.
        drawn: Of the model's names, those that aren't read: their values are undefined until the caller draws them.

    Raises:
        CheckpointError: If a tensor is missing, doesn't fit, or belongs to no part of the family.
    """
    expected = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    own_parts = {name.partition(".")[0] for name in expected}
    foreign = {
        name for name in reader.tensors if (part := name.partition(".")[0]) in FAMILY_PARTS and part not in own_parts
    }
    reader.check({name: x for name, x in expected.items() if name not in drawn}, unused=foreign | set(drawn))
    weights = {}
    for name, tensor in expected.items():
        kept_dtype = torch.float32 if name in CONSTANT_NAMES else dtype
        place = device
        if isinstance(place, Mapping):
            place = place.get(name.partition(".")[0], place[""])
        if name in drawn:
            weights[name] = torch.empty(tensor.shape, dtype=kept_dtype, device=place)
        else:
            weights[name] = reader.read(name, dtype=kept_dtype, device=place)
    model.load_state_dict({name.removeprefix(prefix): x for name, x in weights.items()}, strict=True, assign=True)


def save_checkpoint(model: SiglipModel, folder: Path, *, dtype: torch.dtype = torch.float16) -> None:
    """Write config.json and model.safetensors as transformers and `load_model` read them.

    Args:
        model: What to save; it isn't changed.
        folder: Made where it doesn't exist. Files of those two names are replaced, each at once.
        dtype: What the weights are stored as, but for `logit_scale` and `logit_bias`, which are stored as float32.
    """
    write_checkpoint(model.state_dict(), model.config.to_dict(), folder, dtype=dtype)


def write_checkpoint(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], folder: Path, *, dtype: torch.dtype
) -> None:
    """Write config.json and model.safetensors.

    Args:
        weights: By the checkpoint's names, whole.
        config: Content of config.json.
        folder: Made where it doesn't exist. Files of those two names are replaced, each at once.
        dtype: What the weights are stored as, but for `logit_scale` and `logit_bias`, which are stored as float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, tensor in weights.items():
        stored_dtype = torch.float32 if name in CONSTANT_NAMES else dtype
        tensors[name] = tensor.detach().to(device="cpu", dtype=stored_dtype).contiguous()
    config = {**config, "torch_dtype": str(dtype).removeprefix("torch.")}
    partial_config = folder / f"{CONFIG_FILE}.partial"
    partial_config.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    partial = folder / f"{WEIGHTS_FILE}.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(partial_config.stat().st_mode)  # safetensors makes files for their owner alone
    partial.replace(folder / WEIGHTS_FILE)
    partial_config.replace(folder / CONFIG_FILE)
