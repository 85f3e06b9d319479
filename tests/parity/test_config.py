"""Published config files leave out every field that has its default: ours must be the reference's."""

from __future__ import annotations

import dataclasses
import json

import pytest
import transformers

from siglip_ingest.siglip.model import SiglipConfig
from tests.parity.pairs import PUBLISHED


def assert_same_fields(values: dict[str, object]) -> None:
    ours, reference = SiglipConfig.from_dict(values), transformers.SiglipConfig(**values)
    for tower in ("text_config", "vision_config"):
        our_tower, reference_tower = getattr(ours, tower), getattr(reference, tower)
        for field in dataclasses.fields(our_tower):
            wanted = getattr(reference_tower, field.name)
            found = our_tower.dimension if field.name == "projection_size" else getattr(our_tower, field.name)
            assert found == wanted, f"{tower}.{field.name}"


def test_an_empty_config_has_the_references_defaults() -> None:
    assert_same_fields({"text_config": {}, "vision_config": {}})


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_reads_as_in_the_reference(name: str) -> None:
    assert_same_fields(json.loads((PUBLISHED[name] / "config.json").read_text(encoding="utf-8")))


def test_a_written_config_reads_back_the_same_here_and_in_the_reference() -> None:
    config = SiglipConfig.from_dict(
        {
            "text_config": {"hidden_size": 96, "projection_size": 768},
            "vision_config": {"image_size": 384, "patch_size": 14},
        }
    )
    assert SiglipConfig.from_dict(config.to_dict()).dimension == 768
    assert_same_fields(config.to_dict())
