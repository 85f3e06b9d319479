"""Which weight files load, and what is refused with which sentence."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from siglip_ingest.embedders.local import check_checkpoint
from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.embedder import TorchEmbedder


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of this test's own, to break."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def change_weights(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_weights_in_shards_load_the_same(folder: Path) -> None:
    whole = load_model(folder).state_dict()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    weight_map = {}
    for index, part in enumerate((names[:40], names[40:])):
        file = f"model-{index + 1:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        weight_map |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    assert all(torch.equal(tensor, whole[name]) for name, tensor in load_model(folder).state_dict().items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00002\.safetensors"):
        load_model(folder)


def test_a_shard_outside_the_folder_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder.parent / "model.safetensors")
    index = {"weight_map": {"logit_scale": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(CheckpointError, match="lacks"):
        load_model(folder)


def test_an_index_that_contradicts_the_shards_is_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file({"logit_scale": tensors.pop("logit_scale")}, folder / "first.safetensors")
    save_file(tensors, folder / "second.safetensors")
    true_map = {"logit_scale": "first.safetensors"} | dict.fromkeys(tensors, "second.safetensors")
    without_bias = {name: shard for name, shard in true_map.items() if name != "logit_bias"}
    for weight_map, reason in (
        (
            true_map | {"logit_bias": "first.safetensors"},
            "logit_bias lies in first.safetensors, but it lies in second",
        ),
        (true_map | {"nowhere": "first.safetensors"}, "nowhere lies in first.safetensors, but no shard has it"),
        (without_bias, "second.safetensors has logit_bias, which model.safetensors.index.json doesn't name"),
    ):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
        with pytest.raises(CheckpointError, match=re.escape(reason)):
            load_model(folder)


@pytest.mark.parametrize("kept", [0, 7, 100, 5000], ids=lambda kept: f"{kept}_bytes")
def test_a_cut_off_weight_file_is_named(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a whole safetensors file"):
        load_model(folder)


def test_a_cut_off_weight_file_says_both_sizes(folder: Path) -> None:
    path = folder / "model.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{size - 1} bytes, its header asks for {size}"):
        load_model(folder)


def test_a_git_lfs_pointer_is_recognized(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        load_model(folder)


def test_pickled_weights_are_refused_with_the_reason(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"only as pytorch_model\.bin.*run code"):
        load_model(folder)


def test_a_folder_without_weights_is_no_checkpoint(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors"):
        load_model(folder)


def test_older_exports_position_ids_are_left_alone(folder: Path) -> None:
    for tower in ("text_model", "vision_model"):
        name = f"{tower}.embeddings.position_ids"
        change_weights(folder, lambda tensors, name=name: tensors.update({name: torch.arange(16)[None]}))
    assert load_model(folder).text_model.head.weight.isfinite().all()


def test_weights_that_are_not_of_floating_point_are_refused(folder: Path) -> None:
    quantized = torch.zeros(32, dtype=torch.int8)
    change_weights(folder, lambda tensors: tensors.update({"text_model.head.bias": quantized}))
    with pytest.raises(CheckpointError, match=r"model\.safetensors: text_model\.head\.bias is stored as I8, expected"):
        load_model(folder)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_weights_of_every_floating_dtype_are_converted(folder: Path, dtype: torch.dtype) -> None:
    whole = load_model(folder).state_dict()

    def convert(tensors: dict[str, torch.Tensor]) -> None:
        tensors.update({name: tensor.to(dtype) for name, tensor in tensors.items()})

    change_weights(folder, convert)
    for name, tensor in load_model(folder).state_dict().items():
        assert tensor.dtype == torch.float32, name
        assert torch.equal(tensor, whole[name].to(dtype).float()), name


def test_weights_of_another_architecture_say_so(folder: Path) -> None:
    save_file({"model.layers.0.weight": torch.zeros(2, 2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.safetensors lacks .* more tensors.*another architecture"):
        load_model(folder)


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.pop("text_model.head.bias"))
    with pytest.raises(CheckpointError, match=r"lacks text_model\.head\.bias"):
        load_model(folder)


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(CheckpointError, match=r"model\.safetensors has extra"):
        load_model(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["text_config"]["max_position_embeddings"] = 64
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError) as raised:
        load_model(folder)
    for part in ("text_model.embeddings.position_embedding.weight", "[16, 32]", "[64, 32]"):
        assert part in str(raised.value)


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells what of a file is in memory")
def test_what_is_not_asked_for_never_gets_into_memory(folder: Path) -> None:
    size = 64 << 20
    save_file({"small": torch.zeros(8), "large": torch.zeros(size // 4)}, folder / "model.safetensors")
    reader = WeightReader(folder)
    assert reader.read("small").sum() == 0
    assert count_resident_bytes(folder / "model.safetensors") < size // 8
    assert reader.read("large").sum() == 0
    assert count_resident_bytes(folder / "model.safetensors") >= size


def count_resident_bytes(path: Path) -> int:
    """Add up what this process has of a file's mappings in memory."""
    count = 0
    is_file = False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            is_file = line.endswith(str(path))
        elif is_file and first == "Rss:":
            count += int(rest[0]) * 1024
    return count


def test_open_clips_tensors_are_named_whatever_the_config_says(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["text_config"], config["vision_config"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    names = [
        "logit_bias",
        "logit_scale",
        "text.transformer.resblocks.0.attn.in_proj_weight",
        "text.token_embedding.weight",
        "visual.trunk.blocks.0.attn.qkv.weight",
        "visual.trunk.patch_embed.proj.weight",
    ]
    save_file({name: torch.zeros(2) for name in names}, folder / "model.safetensors")
    sentence = (
        r"model\.safetensors has text\.token_embedding\.weight, .* and 1 more tensors: these are open_clip's names"
    )
    with pytest.raises(CheckpointError, match=sentence + r"\. Only transformers' layout is read"):
        load_model(folder)
    with pytest.raises(CheckpointError, match=sentence):
        TorchEmbedder.from_checkpoint(folder, name="fashion")
    with pytest.raises(CheckpointError, match=sentence):
        check_checkpoint(str(folder), max_num_patches=None)
    (folder / "open_clip_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"open_clip's names, as open_clip_config\.json says too"):
        load_model(folder)
