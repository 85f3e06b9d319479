"""The arrangement for inference beside the reference: equal in float32, and as near to that in bfloat16."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
import transformers
from numpy.typing import NDArray
from torch import Tensor

from siglip_ingest.siglip.inference import InferenceModel
from siglip_ingest.siglip.preprocess.image import ImageSettings, normalize
from siglip_ingest.siglip.preprocess.naflex import pad_patches
from tests.checkpoints import tiny_config, tiny_naflex_config
from tests.parity.pairs import draw_reference

TOLERANCE = 1e-4
SETTINGS = ImageSettings()
SHAPES = [(4, 4), (2, 8), (1, 16), (3, 5), (1, 1), (5, 3), (2, 8)]
BASE = {"text_config": {}, "vision_config": {}}  # base-patch16-224's config.json says nothing but defaults


@dataclass(frozen=True)
class Case:
    """One checkpoint and one batch.

    Attributes:
        folder: The checkpoint, saved by transformers itself.
        input_ids: (T, L) int64.
        images: One array an image: (height, width, 3) uint8, for NaFlex patches (P, F) uint8.
    """

    folder: Path
    input_ids: Tensor
    images: list[NDArray[np.uint8]]

    def run_reference(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Let transformers compute image embeddings, text embeddings and logits."""
        model = transformers.AutoModel.from_pretrained(self.folder, dtype=dtype).eval()
        with torch.inference_mode():
            images = model.get_image_features(**self._prepare(dtype)).pooler_output.float()
            texts = model.get_text_features(input_ids=self.input_ids).pooler_output.float()
        return images, texts, score(images, texts, model.logit_scale.item(), model.logit_bias.item())

    def run_ours(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the same by our arrangement."""
        model = InferenceModel(self.folder, image_settings=SETTINGS, device=torch.device("cpu"), dtype=dtype)
        if model.config.vision_config.is_naflex:
            patches = torch.from_numpy(np.concatenate(self.images))
            images = model.encode_patches(patches, torch.tensor(SHAPES))
        else:
            images = model.encode_pixels(torch.from_numpy(np.stack(self.images)))
        texts = model.encode_texts(self.input_ids)
        return images, texts, score(images, texts, model.logit_scale, model.logit_bias)

    def _prepare(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Make what the reference's vision tower takes."""
        if self.images[0].ndim == 3:
            return {"pixel_values": torch.from_numpy(normalize(np.stack(self.images), SETTINGS)).to(dtype)}
        # (1, 3, P, F / 3), as of an image with one row, back to (P, F)
        rows = [normalize(p.reshape(1, len(p), -1, 3), SETTINGS)[0] for p in self.images]
        patches = [row.transpose(1, 2, 0).reshape(len(p), -1) for row, p in zip(rows, self.images, strict=True)]
        padded = pad_patches(patches, SHAPES, max_num_patches=16)
        return {
            "pixel_values": torch.from_numpy(padded.pixel_values).to(dtype),
            "pixel_attention_mask": torch.from_numpy(padded.pixel_attention_mask),
            "spatial_shapes": torch.from_numpy(padded.spatial_shapes),
        }


def score(images: Tensor, texts: Tensor, logit_scale: float, logit_bias: float) -> Tensor:
    """Compute logits (I, T)."""
    similarities: Tensor = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    return similarities * np.exp(logit_scale) + logit_bias


def make_case(config: dict[str, Any], folder: Path) -> Case:
    is_naflex = config.get("model_type") == "siglip2"
    drawn = draw_reference(config)
    drawn.save_pretrained(folder)
    text, vision = drawn.config.text_config, drawn.config.vision_config
    generator = np.random.default_rng(0)
    side = vision.patch_size**2 * 3
    shapes = (
        [(rows * columns, side) for rows, columns in SHAPES] if is_naflex else [(vision.image_size,) * 2 + (3,)] * 3
    )
    return Case(
        folder=folder,
        input_ids=torch.randint(0, text.vocab_size, (3, text.max_position_embeddings)),
        images=[generator.integers(0, 256, shape, dtype=np.uint8) for shape in shapes],
    )


def giant_config() -> dict[str, Any]:
    """As giant-opt: the towers have different widths, and the text embedding is projected to the vision tower's."""
    config = tiny_config(hidden=64, projection_size=96)
    config["vision_config"] |= {"hidden_size": 96, "patch_size": 9}  # 9 doesn't divide 32: the border is not used
    return config


CONFIGS = {
    "small": tiny_config(hidden=64),
    "small-giant": giant_config(),
    "small-naflex": tiny_naflex_config(hidden=64),
    "base-patch16-224": BASE,
    "base-patch16-naflex": BASE | {"model_type": "siglip2"},
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow) if name.startswith("base") else name for name in CONFIGS],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(CONFIGS[request.param], tmp_path_factory.mktemp("case"))


def test_embeddings_and_logits_equal_the_references(case: Case) -> None:
    found, expected = case.run_ours(torch.float32), case.run_reference(torch.float32)
    for stage, ours, reference in zip(("images", "texts", "logits"), found, expected, strict=True):
        torch.testing.assert_close(
            ours, reference, rtol=0, atol=TOLERANCE, msg=lambda message, stage=stage: f"{stage} differ. {message}"
        )


def test_bfloat16_is_as_near_to_float32_as_the_references(case: Case) -> None:
    exact = case.run_reference(torch.float32)[:2]
    for stage, wide, ours, reference in zip(
        ("images", "texts"), exact, case.run_ours(torch.bfloat16), case.run_reference(torch.bfloat16), strict=False
    ):
        our_error, their_error = ((narrow - wide).norm() / wide.norm() for narrow in (ours, reference))
        assert our_error < 1.25 * their_error, stage
