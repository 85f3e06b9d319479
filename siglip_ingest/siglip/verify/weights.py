"""Safetensors files by their headers: how many parameters, and a checksum a tensor. Needs no torch."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from siglip_ingest.errors import CheckpointError

_BUFFER = ".position_ids"  # older checkpoints keep 0, 1, 2, ... under this name; it is not a parameter
_BLOCK = 1 << 24


class Weights(NamedTuple):
    """What the files hold.

    Attributes:
        parameters: Numbers in all tensors.
        tensors: CRC-32 of each tensor's bytes, with its dtype and shape, by its name.
    """

    parameters: int
    tensors: dict[str, str]


def read_weights(paths: Sequence[Path]) -> Weights:
    """Read a checkpoint's safetensors files once, a block at a time.

    Raises:
        CheckpointError: If a file can't be read as safetensors.
    """
    parameters, tensors = 0, {}
    for path in paths:
        try:
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
                header.pop("__metadata__", None)
                for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
                    start, end = entry["data_offsets"]
                    file.seek(8 + size + start)
                    checksum, left = 0, end - start
                    while block := file.read(min(_BLOCK, left)):
                        checksum, left = zlib.crc32(block, checksum), left - len(block)
                    if left:
                        raise CheckpointError(f"{path} is cut off: {left:,} bytes of {name} are missing.")
                    tensors[name] = f"{entry['dtype']} {entry['shape']} {checksum:08x}"
                    parameters += 0 if name.endswith(_BUFFER) else math.prod(entry["shape"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{path} can't be read as safetensors ({error}). Fetch it again.") from error
    return Weights(parameters, tensors)
