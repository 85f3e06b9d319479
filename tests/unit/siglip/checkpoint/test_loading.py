"""What loads, and what is refused with which sentence."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.loading import load_model, read_config, save_checkpoint
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from tests.checkpoints import tiny_config


@pytest.fixture
def folder(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint of this test's own, to break."""
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


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


def test_a_tower_alone_is_read_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    read = WeightReader.read

    def spy(self: WeightReader, name: str, **options: Any) -> torch.Tensor:
        names.append(name)
        return read(self, name, **options)

    monkeypatch.setattr(WeightReader, "read", spy)
    model = load_model(folder, towers=["text_model"])
    assert not [name for name in names if name.startswith("vision_model.")]
    assert all(parameter.is_meta for parameter in model.vision_model.parameters())
    ids = torch.zeros(1, 16, dtype=torch.int64)
    assert torch.equal(model.get_text_features(ids), load_model(folder).get_text_features(ids))


def test_changing_a_loaded_model_changes_no_file(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    model = load_model(folder).requires_grad_()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert (folder / "model.safetensors").read_bytes() == before
    save_checkpoint(model, folder, dtype=torch.float32)
    again = load_model(folder).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in model.state_dict().items())


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
