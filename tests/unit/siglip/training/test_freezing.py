from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from siglip_ingest.siglip.training.freezing import freeze
from tests.checkpoints import tiny_config


@pytest.fixture(scope="module")
def model() -> SiglipModel:
    with torch.device("meta"):
        return SiglipModel(SiglipConfig.from_dict(tiny_config()))


CASES = {
    "nothing": (["none"], [], []),
    "locked images": (["vision"], [], ["vision_model."]),
    "locked texts": (["text"], [], ["text_model."]),
    "the constants": (["constants"], [], ["logit_scale", "logit_bias"]),
    "a part of a tower": (["vision.embeddings"], [], ["vision_model.embeddings."]),
    "the checkpoint's own names": (["vision_model.head", "logit_bias"], [], ["vision_model.head.", "logit_bias"]),
    "a pattern": (["text.encoder.layers.[0-1]"], [], ["text_model.encoder.layers."]),
    "one layer and not its likes": (["text.encoder.layers.1"], [], ["text_model.encoder.layers.1."]),
    "a tower but its head": (
        ["vision"],
        ["vision.head", "vision.post_layernorm"],
        ["vision_model.embeddings.", "vision_model.encoder."],
    ),
}


@pytest.mark.parametrize(("patterns", "exceptions", "frozen"), CASES.values(), ids=CASES.keys())
def test_what_a_pattern_names_is_frozen_and_nothing_else(
    model: SiglipModel, patterns: Sequence[str], exceptions: Sequence[str], frozen: Sequence[str]
) -> None:
    freeze(model, patterns, exceptions=exceptions)
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (not any(name.startswith(start) for start in frozen)), name


def test_a_pattern_of_nothing_is_refused_with_what_there_is(model: SiglipModel) -> None:
    with pytest.raises(InvalidInputError, match=r"'vison'.*constants.*text\.encoder.*vision\.head"):
        freeze(model, ["vison"])
    with pytest.raises(InvalidInputError, match=r"'text\.layers'"):
        freeze(model, ["vision"], exceptions=["text.layers"])


def test_freezing_everything_is_refused(model: SiglipModel) -> None:
    with pytest.raises(InvalidInputError, match="Nothing is left to train when vision, text, constants is frozen"):
        freeze(model, ["vision", "text", "constants"])
