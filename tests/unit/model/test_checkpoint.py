"""What loads, and what is refused with which sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from siglip_ingest.errors import CheckpointError
from siglip_ingest.model import SiglipConfig, SiglipModel, load_model, read_config, save_checkpoint
from tests.checkpoints import tiny_config


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of this test's own, to break."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name, value in values.items():
        tower, _, key = name.partition("__")
        if key:
            config[tower][key] = value
        else:
            config[name] = value
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def change_weights(folder: Path, change: Any) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_saved_model_loads_the_same(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    save_checkpoint(model, tmp_path / "again", dtype=torch.float32)
    again = load_model(tmp_path / "again")
    assert again.config == model.config
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_a_loaded_model_is_ready_for_inference(folder: Path) -> None:
    model = load_model(folder, dtype=torch.bfloat16)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.is_meta for tensor in model.state_dict().values())
    assert model.text_model.head.weight.dtype == torch.bfloat16


def test_the_constants_of_the_scores_keep_their_precision(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    with torch.no_grad():
        model.logit_scale.fill_(4.747554302215576)
        model.logit_bias.fill_(-16.776988983154297)
    save_checkpoint(model, tmp_path / "half", dtype=torch.float16)
    narrow = load_model(tmp_path / "half", dtype=torch.bfloat16)
    assert narrow.logit_scale.item() == 4.747554302215576
    assert narrow.logit_bias.item() == -16.776988983154297


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


def test_a_missing_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.pop("text_model.head.bias"))
    with pytest.raises(CheckpointError, match=r"lacks text_model\.head\.bias"):
        load_model(folder)


def test_an_unknown_tensor_is_named(folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update(extra=torch.zeros(1)))
    with pytest.raises(CheckpointError, match=r"model\.safetensors has extra"):
        load_model(folder)


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder: Path) -> None:
    change_config(folder, text_config__max_position_embeddings=64)
    with pytest.raises(CheckpointError) as raised:
        load_model(folder)
    for part in ("text_model.embeddings.position_embedding.weight", "[16, 32]", "[64, 32]"):
        assert part in str(raised.value)


@pytest.mark.parametrize("kept", [0, 7, 100, 5000], ids=lambda kept: f"{kept}_bytes")
def test_a_cut_off_weight_file_is_named(folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not a whole safetensors file"):
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


def test_a_folder_without_a_config_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "not valid JSON"), ("[]", "expected a JSON object"), ('{"model_type": "clip"}', "'clip'")],
    ids=["broken", "list", "other_architecture"],
)
def test_a_config_that_cannot_be_used_says_why(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError, match=reason) as raised:
        read_config(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"text_config": {"hidden_size": 0}}, "hidden_size"),
        ({"text_config": {"num_hidden_layers": "12"}}, "num_hidden_layers"),
        ({"vision_config": {"num_attention_heads": 7}}, "7 attention heads"),
        ({"vision_config": {"hidden_act": "swish"}}, "swish"),
        ({"vision_config": {"patch_size": 500}}, "larger than image_size"),
        ({"vision_config": {"vision_use_head": False}}, "pooling head"),
        ({"text_config": {"projection_size": 1152}}, "don't meet"),
    ],
    ids=["zero", "text", "heads", "activation", "patch", "no_head", "dimensions"],
)
def test_a_config_with_impossible_values_says_which(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason):
        SiglipModel(SiglipConfig.from_dict(values))


def test_new_weights_depend_on_the_seed_alone_and_are_all_drawn() -> None:
    config = SiglipConfig.from_dict(tiny_config())
    models = []
    for fill in (float("nan"), 7.0):
        torch.manual_seed(3)
        model = SiglipModel(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(fill)  # what was in memory must not shine through
        model.init_weights()
        models.append(model.state_dict())
    for name, tensor in models[0].items():
        assert torch.equal(tensor, models[1][name]), name


def test_a_text_that_is_too_long_for_the_model_says_so(folder: Path) -> None:
    with pytest.raises(ValueError, match="17 tokens are too long"):
        load_model(folder).get_text_features(torch.zeros(1, 17, dtype=torch.int64))
