"""Configs: made, changed, saved and refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip import (
    AutoConfig,
    Siglip2Config,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
)


def test_towers_meet_in_a_config() -> None:
    config = SiglipConfig.from_text_vision_configs(SiglipTextConfig(vocab_size=50), {"image_size": 384})
    assert (config.text_config.vocab_size, config.vision_config.patches_per_side) == (50, 24)
    assert Siglip2Config().vision_config.is_naflex


@pytest.mark.parametrize("kind", [SiglipConfig, Siglip2Config])
def test_a_config_is_saved_and_read_back(kind: type[SiglipConfig], tmp_path: Path) -> None:
    config = kind(num_labels=3, problem_type="multi_label_classification")
    config.save_pretrained(tmp_path)
    assert kind.from_pretrained(tmp_path) == config
    assert AutoConfig.from_pretrained(tmp_path) == config
    assert json.loads(config.to_json_string())["problem_type"] == "multi_label_classification"


def test_a_tower_is_read_out_of_a_whole_checkpoint(checkpoint: Path) -> None:
    assert SiglipTextConfig.from_pretrained(checkpoint).hidden_size == 32
    assert SiglipTextConfig.from_pretrained(checkpoint, hidden_size=64).hidden_size == 64


def test_a_towers_own_config_is_saved_and_read_back(tmp_path: Path) -> None:
    Siglip2VisionConfig(num_patches=49).save_pretrained(tmp_path)
    assert Siglip2VisionConfig.from_pretrained(tmp_path).num_patches == 49
    assert AutoConfig.from_pretrained(tmp_path) == Siglip2VisionConfig(num_patches=49)


def test_classes_are_named_by_any_of_three_arguments() -> None:
    assert SiglipConfig().id2label == {0: "LABEL_0", 1: "LABEL_1"}
    assert SiglipConfig(num_labels=3).label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    assert SiglipConfig(label2id={"cat": 0, "dog": 1}).id2label == {0: "cat", 1: "dog"}
    assert SiglipConfig(id2label={0: "cat"}).num_labels == 1
    with pytest.raises(InvalidInputError, match="num_labels is 3, but 1"):
        SiglipConfig(id2label={0: "cat"}, num_labels=3)


def test_other_classes_replace_those_of_the_file(tmp_path: Path) -> None:
    SiglipConfig(id2label={0: "cat", 1: "dog"}).save_pretrained(tmp_path)
    read = SiglipConfig.from_pretrained
    assert read(tmp_path).id2label == read(tmp_path, num_labels=2).id2label == {0: "cat", 1: "dog"}
    assert read(tmp_path, num_labels=1).id2label == {0: "LABEL_0"}
    assert read(tmp_path, label2id={"bird": 0}).id2label == {0: "bird"}


def test_a_config_does_not_change_but_makes_another() -> None:
    config = SiglipVisionConfig()
    with pytest.raises(dataclasses.FrozenInstanceError, match=r"dataclasses\.replace\(config, image_size=384\)"):
        config.image_size = 384  # type: ignore[misc]
    assert dataclasses.replace(config, image_size=384).image_size == 384


def test_a_config_of_the_other_kind_names_its_class(naflex_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="use Siglip2Config"):
        SiglipConfig.from_pretrained(naflex_checkpoint)
    with pytest.raises(CheckpointError, match="use Siglip2VisionConfig"):
        SiglipVisionConfig.from_pretrained(naflex_checkpoint)


def test_an_unknown_field_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(InvalidInputError, match="hiden_size"):
        SiglipVisionConfig.from_pretrained(tiny_checkpoint, hiden_size=3)


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(CheckpointError, match="'clip', expected one of 'siglip', 'siglip2'"):
        AutoConfig.from_pretrained(tmp_path)


def test_a_problem_must_be_known() -> None:
    with pytest.raises(CheckpointError, match="problem_type"):
        SiglipConfig(problem_type="clustering")
