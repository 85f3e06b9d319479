"""The table of the family against the reference's own models, built without memory, and against open_clip's sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

from siglip_ingest.siglip.checkpoint.family import FAMILY, Checkpoint, measure
from tests.checkpoints import tiny_config
from tests.parity.pairs import optional_data

ROWS = pytest.mark.parametrize("checkpoint", FAMILY, ids=[row.name.removeprefix("google/") for row in FAMILY])

# open_clip's file of each row, as its name follows from ours.
_OPEN_CLIP_SIZES = {"base": "B", "large": "L", "so400m": "SO400M", "giant": "gopt"}


def build(config: Any) -> torch.nn.Module:
    """Build the reference's model of a config.json on the meta device, with plain attention."""
    kind = "Siglip2" if config.get("model_type") == "siglip2" else "Siglip"
    with torch.device("meta"):
        read = getattr(transformers, f"{kind}Config")(**config, attn_implementation="eager")
        model: torch.nn.Module = getattr(transformers, f"{kind}Model")(read)
    return model.eval()


def count_flop(run: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return int(counter.get_total_flops())


@ROWS
def test_parameters_are_the_references(checkpoint: Checkpoint) -> None:
    model = build(checkpoint.config)
    figures = checkpoint.figures
    assert sum(value.numel() for value in model.parameters()) == figures.parameters
    assert sum(value.numel() for value in model.text_model.parameters()) == figures.text_parameters
    assert sum(value.numel() for value in model.vision_model.parameters()) == figures.vision_parameters


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(tiny_config(), id="tiny"),
        pytest.param(tiny_config(hidden=48, projection_size=48, max_position_embeddings=7), id="tiny-projected"),
        pytest.param({"text_config": {}, "vision_config": {}}, id="base-patch16-224"),
        pytest.param(FAMILY[7].config, id="so400m-patch14-384"),
        pytest.param(FAMILY[24].config, id="giant-opt-patch16-384"),
    ],
)
def test_operations_are_what_torch_counts_in_the_reference(config: dict[str, Any]) -> None:
    model, figures = build(config), measure(config)
    side, length = figures.image_size, figures.max_text_length
    assert side is not None
    pixels = torch.empty(1, 3, side, side, device="meta")
    ids = torch.zeros(1, length, dtype=torch.long, device="meta")
    assert count_flop(lambda: model.vision_model(pixel_values=pixels)) == figures.image_flop
    assert count_flop(lambda: model.text_model(input_ids=ids)) == figures.text_flop


def test_operations_of_naflex_are_what_torch_counts_in_the_reference() -> None:
    config = tiny_config() | {"model_type": "siglip2"}
    config["vision_config"] = {"patch_size": 8, "num_patches": 16} | {
        name: value for name, value in config["vision_config"].items() if name not in {"image_size", "patch_size"}
    }
    figures = measure(config)
    model = transformers.Siglip2Model(transformers.Siglip2Config(**config, attn_implementation="eager")).eval()
    inputs = {
        "pixel_values": torch.zeros(1, 16, 8 * 8 * 3),
        "pixel_attention_mask": torch.ones(1, 16, dtype=torch.long),
        "spatial_shapes": torch.tensor([[4, 4]]),
    }
    assert count_flop(lambda: model.vision_model(**inputs)) == figures.image_flop


@ROWS
def test_sizes_are_open_clips(checkpoint: Checkpoint) -> None:
    folder = optional_data("configs/open_clip")
    generation, size, *_ = checkpoint.name.removeprefix("google/").split("-")
    patch, side, *_ = checkpoint.name.rpartition("-patch")[2].split("-")
    vocabulary = checkpoint.config["text_config"].get("vocab_size", 32_000)
    stem = f"ViT-{_OPEN_CLIP_SIZES[size]}-{patch}-{generation.replace('siglip', 'SigLIP')}"
    stem += "-i18n" if vocabulary == 250_000 else ""
    file = folder / (f"{stem}-{side}.json" if (folder / f"{stem}-{side}.json").exists() else f"{stem}.json")
    if (patch, side) == ("14", "384"):
        file = folder / f"{stem}-378.json"  # 27 patches of 14 pixels
    theirs = json.loads(file.read_text(encoding="utf-8"))
    text, figures = theirs["text_cfg"], checkpoint.figures
    ours = checkpoint.config["text_config"]
    assert figures.dimension == theirs["embed_dim"]
    assert figures.max_text_length == text["context_length"]
    assert vocabulary == text["vocab_size"]
    assert ours.get("hidden_size", 768) == text["width"]
    assert ours.get("num_hidden_layers", 12) == text["layers"]
    assert ours.get("num_attention_heads", 12) == text["heads"]
    assert ours.get("intermediate_size", 3072) == int(text["width"] * text.get("mlp_ratio", 4))
    if figures.image_size is not None:
        assert figures.num_patches == (theirs["vision_cfg"]["image_size"] // int(patch)) ** 2
