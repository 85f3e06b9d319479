"""Reads tensors by name from a checkpoint's safetensors files. They are mapped: only what is used comes from the disk.

The format (https://huggingface.co/docs/safetensors): 8 bytes with the header's length, a JSON header with each tensor's
dtype, shape and place, then the tensors. A checkpoint has one such file, or several (shards) with an index that says
which tensor lies where. Pickles are never opened.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.files import (
    WEIGHTS_FILE,
    WEIGHTS_INDEX_FILE,
    find_weight_files,
    read_weights_index,
)
from siglip_ingest.siglip.git_lfs import describe_pointer

# Where open_clip's SigLIP has its towers: timm's vision transformer, and its own text tower (src/open_clip/model.py).
OPEN_CLIP_PREFIXES = ("visual.", "text.transformer.", "text.token_embedding.", "transformer.resblocks.")
OPEN_CLIP_CONFIG_FILE = "open_clip_config.json"
# Safetensors' names of the dtypes that weights may be stored in.
FLOAT_DTYPES = ("F64", "F32", "F16", "BF16")
# Older exports of transformers saved these buffers, the numbers 0, 1, 2, ..., along with the weights.
IGNORED_SUFFIX = ".embeddings.position_ids"


@dataclass(frozen=True)
class StoredTensor:
    """What a file's header says of a tensor.

    Attributes:
        path: The file.
        shape: Its sizes, outermost first.
        dtype: Safetensors' name, such as `F32` or `BF16`.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: str


class WeightReader:
    """The tensors of a checkpoint's files, by name. Opening reads the headers, `read` one tensor."""

    def __init__(self, folder: Path) -> None:
        """Open every weight file in `folder`.

        Raises:
            CheckpointError: If a file is missing or broken, the index contradicts the shards, or the tensors are
                open_clip's.
        """
        self.folder = folder
        self._files = {path: _open(path) for path in find_weight_files(folder)}
        headers = {path.name: _read_header(file, path) for path, file in self._files.items()}
        self.tensors = (
            headers[WEIGHTS_FILE] if WEIGHTS_FILE in headers else _join_shards(headers, folder / WEIGHTS_INDEX_FILE)
        )

        self._refuse_open_clip()

    def check(self, expected: Mapping[str, Tensor], *, unused: Collection[str] = ()) -> None:
        """Compare names, shapes and dtypes with a model's, before anything is read.

        Args:
            expected: The model's `state_dict`, on any device, meta included.
            unused: Names that the checkpoint may have besides, or lack.

        Raises:
            CheckpointError: If a tensor is missing, unknown, of another shape, or not of floating point.
        """
        for name, wanted in expected.items():
            if (found := self.tensors.get(name)) is None:
                missing = [name, *sorted(expected.keys() - self.tensors.keys() - {name})]
                raise CheckpointError(
                    f"{self._describe_files()} lacks {_name_some(missing)}: config.json asks for {name} of shape "
                    f"{list(wanted.shape)}. {self._describe_kind()}"
                )
            if found.shape != tuple(wanted.shape):
                raise CheckpointError(
                    f"{found.path}: {name} has the shape {list(found.shape)}, but config.json asks for "
                    f"{list(wanted.shape)}."
                )
            if found.dtype not in FLOAT_DTYPES:
                raise CheckpointError(
                    f"{found.path}: {name} is stored as {found.dtype}, expected one of {', '.join(FLOAT_DTYPES)}. "
                    "Quantized checkpoints can't be used."
                )
        if unknown := self.tensors.keys() - expected.keys() - set(unused):
            path = self.tensors[min(unknown)].path
            raise CheckpointError(
                f"{path} has {_name_some(sorted(unknown))}, which the model of its config.json lacks. "
                f"{self._describe_kind()}"
            )

    def read(self, name: str, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu") -> Tensor:
        """Read one tensor, in the file's dtype unless `dtype` says another.

        On the CPU and in the dtype of the file it is a view of the mapped file: a page of it is read when it is first
        looked at, and copied if it is written to; the file never changes.

        Raises:
            CheckpointError: If there is no such tensor, or it can't be read.
        """
        if name not in self.tensors:
            raise CheckpointError(f"{self._describe_files()} lacks {name}.")
        path = self.tensors[name].path
        try:
            tensor: Tensor = self._files[path].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: {name} can't be read ({error}).") from error
        return tensor.to(device=device, dtype=dtype)

    def count_parameters(self) -> int:
        """How many numbers all tensors hold."""
        return sum(math.prod(stored.shape) for stored in self.tensors.values())

    def _refuse_open_clip(self) -> None:
        """Refuse another library's layout of the same architecture, which some models are published in as `siglip`."""
        if foreign := sorted(name for name in self.tensors if name.startswith(OPEN_CLIP_PREFIXES)):
            hint = f", as {OPEN_CLIP_CONFIG_FILE} says too" if (self.folder / OPEN_CLIP_CONFIG_FILE).is_file() else ""
            raise CheckpointError(
                f"{self._describe_files()} has {_name_some(foreign)}: these are open_clip's names{hint}. Only "
                "transformers' layout is read, whose tensors are named text_model. and vision_model., whatever "
                "config.json says. Look for the model in that layout, convert it, or use open_clip."
            )

    def _describe_files(self) -> str:
        paths = sorted(self._files)
        return str(paths[0] if len(paths) == 1 else self.folder / WEIGHTS_INDEX_FILE)

    def _describe_kind(self) -> str:
        """Say what the checkpoint is instead, where its tensors' names tell."""
        if "classifier.weight" in self.tensors:
            return "It is an image classifier's checkpoint."
        if not any(name.startswith(("text_model.", "vision_model.")) for name in self.tensors):
            return "It is a checkpoint of another architecture."
        return "It belongs to another config.json, or to another architecture."


def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt").__enter__()  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise CheckpointError(_describe_broken(path, error)) from error


def _read_header(file: Any, path: Path) -> dict[str, StoredTensor]:
    stored = {}
    for name in file.keys():  # noqa: SIM118  (not a dict: it can't be iterated)
        if not name.endswith(IGNORED_SUFFIX):
            part = file.get_slice(name)
            stored[name] = StoredTensor(path, tuple(part.get_shape()), part.get_dtype())
    return stored


def _join_shards(headers: Mapping[str, Mapping[str, StoredTensor]], index_path: Path) -> dict[str, StoredTensor]:
    """Take each tensor from the shard that the index names.

    Raises:
        CheckpointError: If it isn't there, or a shard has a tensor that the index doesn't name.
    """
    index = {name: shard for name, shard in read_weights_index(index_path).items() if not name.endswith(IGNORED_SUFFIX)}
    for name, shard in index.items():
        if name not in headers[shard]:
            places = [other for other, header in headers.items() if name in header]
            place = f"it lies in {places[0]}" if places else "no shard has it"
            raise CheckpointError(f"{index_path} says that {name} lies in {shard}, but {place}.")
    for shard, header in headers.items():
        if unnamed := header.keys() - index.keys():
            raise CheckpointError(
                f"{index_path.parent / shard} has {_name_some(sorted(unnamed))}, which {index_path.name} doesn't name."
            )
    return {name: headers[shard][name] for name, shard in index.items()}


def _describe_broken(path: Path, error: Exception) -> str:
    """Say why a file can't be opened, as far as its first bytes tell."""
    if (pointer := describe_pointer(path)) is not None:
        return pointer
    try:
        with path.open("rb") as file:
            header_size, size = int.from_bytes(file.read(8), "little"), path.stat().st_size
            header = json.loads(file.read(header_size)) if 0 < header_size <= size - 8 else {}
        ends = [values["data_offsets"][1] for name, values in header.items() if name != "__metadata__"]
        found = f"{size} bytes" + (f", its header asks for {8 + header_size + max(ends)}" if ends else "")
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        found = "its header is damaged"
    return f"{path} is not a whole safetensors file ({found}; {error}). It may be cut off: fetch it again."


def _name_some(names: list[str]) -> str:
    """Name up to three tensors, and count the others."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more tensors" if len(names) > 3 else "")
