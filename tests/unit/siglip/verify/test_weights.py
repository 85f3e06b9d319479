from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.verify.weights import read_weights


def test_weights_are_counted_and_summed_without_torch(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tiny_checkpoint / "model.safetensors"
    expected = load_file(path)
    weights = read_weights([path])
    assert weights.parameters == sum(tensor.numel() for tensor in expected.values())
    assert weights.tensors.keys() == expected.keys()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"is cut off: 10 bytes of .* are missing"):
        read_weights([cut])
    cut.write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="can't be read as safetensors"):
        read_weights([cut])
