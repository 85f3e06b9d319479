"""Small checkpoints of each kind, saved by transformers itself, for both packages to load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image

from siglip_ingest.siglip.transformers_api.models.outputs import ModelOutput
from tests.checkpoints import tiny_config, write_gemma_style_tokenizer, write_processor
from tests.images import make_image

KINDS = ("siglip", "siglip2", "naflex")
TEXTS = ["a photo of 2 cats", "A Dog, and the   Birds!", "sunset over water"]


def write_checkpoint(folder: Path, kind: str) -> Path:
    """Save a checkpoint with random weights, its tokenizer and its image settings; returns `folder`.

    Args:
        folder: Where to; made where it doesn't exist.
        kind: `siglip`, `siglip2` (fixed resolution: SigLIP's model_type, Gemma's tokenizer) or `naflex`.
    """
    torch.manual_seed(0)
    config = tiny_config(vocab_size=900, max_position_embeddings=64)
    if kind == "naflex":
        config["model_type"] = "siglip2"
        config["vision_config"] |= {"patch_size": 16, "num_patches": 256}
        del config["vision_config"]["image_size"]
        drawn: Any = transformers.Siglip2Model(transformers.Siglip2Config(**config))
    else:
        drawn = transformers.SiglipModel(transformers.SiglipConfig(**config))
    with torch.no_grad():
        for name, parameter in drawn.named_parameters():
            if name.endswith(("bias", "norm1.weight", "norm2.weight", "norm.weight")):
                parameter.add_(0.1 * torch.randn_like(parameter))
        drawn.logit_scale.fill_(2.0)
        drawn.logit_bias.fill_(-1.5)
    drawn.save_pretrained(folder)
    write_processor(folder, image_size=32)
    if kind != "siglip":
        for name in ("spiece.model", "special_tokens_map.json"):
            (folder / name).unlink()
        write_gemma_style_tokenizer(folder)
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    tokenizer["model_max_length"] = 64
    if kind != "siglip":
        names = {"tokenizer_class": "Siglip2Tokenizer", "padding_side": "right", "model_max_length": 64}
        tokenizer = names | {"model_input_names": ["input_ids"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    if kind == "naflex":
        settings = {"image_processor_type": "Siglip2ImageProcessor", "patch_size": 16, "max_num_patches": 256}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def make_images() -> list[Image.Image]:
    """Images of several shapes."""
    return [make_image(60, 40), make_image(33, 70, seed=1), make_image(50, 50, seed=2)]


def assert_close(name: str, ours: torch.Tensor, reference: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == reference.shape, f"{name} has the shape {tuple(ours.shape)}, not {tuple(reference.shape)}"
    torch.testing.assert_close(
        ours, reference, rtol=0, atol=tolerance, check_dtype=False, msg=lambda message: f"{name} differs. {message}"
    )


def assert_same_output(name: str, ours: ModelOutput, reference: Any, tolerance: float = 1e-5) -> None:
    """Compare outputs value by value, those inside included."""
    assert list(ours.keys()) == list(reference.keys()), name
    for key, value in ours.items():
        where = f"{name}.{key}"
        if isinstance(value, ModelOutput):
            assert_same_output(where, value, reference[key], tolerance)
        elif isinstance(value, tuple):
            assert len(value) == len(reference[key]), where
            for index, (mine, theirs) in enumerate(zip(value, reference[key], strict=True)):
                assert_close(f"{where}[{index}]", mine, theirs, tolerance)
        else:
            assert_close(where, value, reference[key], tolerance)
