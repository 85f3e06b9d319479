"""The demo checkpoint in transformers, from files to scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from siglip_ingest.siglip.embedder import TorchEmbedder
from tests.images import make_image

TEXTS = ["sunset over water", "A boat under the night sky.", "two red circles", ""]


def test_the_demo_checkpoint_scores_the_same_in_the_reference(demo_checkpoint: Path) -> None:
    images = [make_image(96, 96), make_image(200, 120, 1), make_image(50, 300, 2)]
    ours = TorchEmbedder.from_checkpoint(demo_checkpoint, name="demo", device="cpu")
    similarities = ours.embed_images(images) @ ours.embed_tokens(ours.tokenize(TEXTS)).T
    logits = similarities * np.exp(ours.info.logit_scale) + ours.info.logit_bias

    reference = transformers.AutoModel.from_pretrained(demo_checkpoint, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_checkpoint)
    processor = SiglipImageProcessorPil.from_pretrained(demo_checkpoint)
    length = reference.config.text_config.max_position_embeddings
    encoded = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    pixel_values = processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = reference(input_ids=encoded["input_ids"], pixel_values=pixel_values).logits_per_image

    assert isinstance(reference, transformers.SiglipModel)
    assert isinstance(tokenizer, transformers.SiglipTokenizer)
    np.testing.assert_allclose(logits, expected.numpy(), rtol=0, atol=2e-4)
