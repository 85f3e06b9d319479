"""The reference implementation and ours on the same random weights, saved by transformers itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.model import SiglipModel

transformers = pytest.importorskip("transformers")  # what imports this file is skipped with it
ROOT = Path(__file__).parents[2]
PUBLISHED = {path.name: path for path in sorted((ROOT / "tests" / "data").iterdir()) if path.is_dir()}
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Pair:
    """Both models, and inputs for them."""

    reference: transformers.SiglipModel
    ours: SiglipModel
    input_ids: Tensor
    pixel_values: Tensor


def draw_reference(config: dict[str, Any]) -> Any:
    """Draw weights for transformers' model of a config.json, none of them left at 0 or 1; the same ones each time."""
    torch.manual_seed(0)
    prefix = "Siglip2" if config.get("model_type") == "siglip2" else "Siglip"
    drawn = getattr(transformers, f"{prefix}Model")(getattr(transformers, f"{prefix}Config")(**config))
    with torch.no_grad():
        for name, parameter in drawn.named_parameters():
            if name.endswith(("bias", "norm1.weight", "norm2.weight", "norm.weight")):
                parameter.add_(0.1 * torch.randn_like(parameter))
        drawn.logit_scale.fill_(4.7)
        drawn.logit_bias.fill_(-16.5)
    return drawn


def make_pair(config: dict[str, Any], folder: Path, *, images: int, texts: int, attention: str = "eager") -> Pair:
    """Draw weights for transformers' model, save it as transformers does, and load the files with both."""
    draw_reference(config).save_pretrained(folder)
    reference = transformers.SiglipModel.from_pretrained(folder, attn_implementation=attention).eval()
    ours = load_model(folder)
    text, vision = ours.config.text_config, ours.config.vision_config
    return Pair(
        reference=reference,
        ours=ours,
        input_ids=torch.randint(0, text.vocab_size, (texts, text.max_position_embeddings)),
        pixel_values=torch.rand(images, 3, vision.image_size, vision.image_size) * 2 - 1,
    )


def optional_data(path: str) -> Path:
    """Find a file that is too large for the repository; skip the test where nobody put it.

    It is looked for in the folder SIGLIP_TEST_DATA, or else in `shared/data` beside the checkout. tests/data/README.md
    says what may lie there.
    """
    folder = Path(os.environ.get("SIGLIP_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not (folder / path).exists():
        pytest.skip(f"no {path} in {folder} (SIGLIP_TEST_DATA): it is optional")
    return folder / path
