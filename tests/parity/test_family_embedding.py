"""From a file's bytes and typed texts to scores, beside transformers' processor and model, for each row of the family.

The stand-ins have a thirty-second of the true widths and two layers; all else is as published: patch and image
sizes, text lengths, heads' proportions, projections, the kind of tokenizer and of image processor. The slow ones have
the true widths and heads too, of each combination of tower, patch and image that is unlike the others.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers.image_utils import load_image
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from siglip_ingest.siglip.checkpoint.family import FAMILY, Checkpoint, find_checkpoint
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.preprocess.image import decode_image, normalize, normalize_patches
from siglip_ingest.siglip.preprocess.naflex import cut_patches
from siglip_ingest.siglip.zero_shot import classify
from tests.checkpoints import PIECES, write_gemma_style_tokenizer, write_naflex_preprocessor, write_processor
from tests.images import FILES, encode, make_image

TOLERANCE = 1e-5
PIXEL_TOLERANCE = 1e-6
TRUE_SIZES = (
    "siglip-so400m-patch14-224",
    "siglip-so400m-patch14-384",
    "siglip-large-patch16-256",
    "siglip2-base-patch32-256",
    "siglip2-giant-opt-patch16-256",
    "siglip2-so400m-patch16-naflex",
)
LABELS = ["two cats", "Ein Boot, nachts!", "北京的日落", "a small red house beside a river " * 8]
TEMPLATE = "This is a photo of {label}."
ROWS = pytest.mark.parametrize("checkpoint", FAMILY, ids=[row.name.removeprefix("google/") for row in FAMILY])


@dataclass(frozen=True)
class Reference:
    """What transformers makes of the same files: inputs, unit vectors and scores (images, labels)."""

    input_ids: np.ndarray[Any, Any]
    pixel_values: np.ndarray[Any, Any]
    spatial_shapes: np.ndarray[Any, Any] | None
    image_embeds: np.ndarray[Any, Any]
    text_embeds: np.ndarray[Any, Any]
    scores: np.ndarray[Any, Any]


@functools.cache
def image_files() -> list[bytes]:
    """Turned by EXIF, with transparency, tall, and wide."""
    tall, wide = encode(make_image(90, 700), "JPEG"), encode(make_image(640, 120, seed=1), "PNG")
    return [FILES["orientation_6.jpg"](), FILES["alpha.png"](), tall, wide]


def shrink(checkpoint: Checkpoint, pieces: int, *, narrowing: int = 32) -> dict[str, Any]:
    """Give a row's config.json with two layers a tower, `narrowing` times narrower, and few pieces."""
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in checkpoint.config.items()}
    for tower in (config["text_config"], config["vision_config"]):
        tower["num_hidden_layers"] = 2
        if narrowing > 1:
            tower["hidden_size"] = tower.get("hidden_size", 768) // narrowing
            tower["intermediate_size"] = tower.get("intermediate_size", 3072) // (2 * narrowing)
            tower["num_attention_heads"] = tower.get("num_attention_heads", 12) // 4
    if "projection_size" in config["text_config"]:
        config["text_config"]["projection_size"] //= narrowing
    config["text_config"]["vocab_size"] = pieces
    return config


def write_stand_in(checkpoint: Checkpoint, folder: Path, *, narrowing: int = 32) -> transformers.PreTrainedModel:
    """Write a row's files, its weights as transformers saves them; returns the reference's model."""
    vocab_size = checkpoint.config["text_config"].get("vocab_size", 32_000)
    side = checkpoint.config["vision_config"].get("image_size", 224)
    write_processor(folder, image_size=side, is_multilingual=vocab_size == 250_000)
    pieces = PIECES + (1000 if vocab_size == 250_000 else 0)  # more rows than pieces do no harm
    if vocab_size == 256_000:
        (folder / "spiece.model").unlink()
        pieces = write_gemma_style_tokenizer(folder)
        settings = {"eos_token": "<eos>", "pad_token": "<pad>", "padding_side": "right"}
        change_json(folder / "tokenizer_config.json", settings | {"model_input_names": ["input_ids"]}, keep=False)
        (folder / "special_tokens_map.json").unlink()
        change_json(folder / "preprocessor_config.json", {"resample": 2})
    if checkpoint.is_naflex:
        write_naflex_preprocessor(folder, patch_size=16, max_num_patches=256)
    torch.manual_seed(0)
    kind = "Siglip2" if checkpoint.is_naflex else "Siglip"
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(**shrink(checkpoint, pieces, narrowing=narrowing))
    ).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.logit_scale.fill_(2.5)
        model.logit_bias.fill_(-1.0)
    model.save_pretrained(folder)
    return model


def change_json(path: Path, values: dict[str, Any], *, keep: bool = True) -> None:
    path.write_text(json.dumps((json.loads(path.read_text()) if keep else {}) | values))


@torch.no_grad()
def run_reference(
    model: transformers.PreTrainedModel, folder: Path, files: list[Path], *, is_gemma: bool, **options: Any
) -> Reference:
    tokenizer = (transformers.Siglip2Tokenizer if is_gemma else transformers.SiglipTokenizer).from_pretrained(folder)
    if model.config.model_type == "siglip2":
        processor = transformers.Siglip2Processor(Siglip2ImageProcessorPil.from_pretrained(folder), tokenizer)
    else:
        processor = transformers.SiglipProcessor(SiglipImageProcessorPil.from_pretrained(folder), tokenizer)
    inputs = processor(
        text=[TEMPLATE.format(label=label) for label in LABELS],
        images=[load_image(str(file)) for file in files],
        padding="max_length",
        max_length=model.config.text_config.max_position_embeddings,
        truncation=True,
        return_tensors="pt",
        **options,
    )
    assert "attention_mask" not in inputs
    output = model(**inputs)
    return Reference(
        input_ids=inputs["input_ids"].numpy(),
        pixel_values=inputs["pixel_values"].numpy(),
        spatial_shapes=inputs["spatial_shapes"].numpy() if "spatial_shapes" in inputs else None,
        image_embeds=output.image_embeds.numpy(),
        text_embeds=output.text_embeds.numpy(),
        scores=torch.sigmoid(output.logits_per_image).numpy(),
    )


def check(embedder: TorchEmbedder, reference: Reference, files: list[Path]) -> None:
    """Compare stage by stage."""
    texts = [TEMPLATE.format(label=label) for label in LABELS]
    np.testing.assert_array_equal(embedder.tokenize(texts), reference.input_ids)
    images = [decode_image(file.read_bytes(), max_image_pixels=10**6) for file in files]
    settings = embedder._image_settings
    for index, image in enumerate(images):
        pixels = embedder.prepare_image(image)
        if reference.spatial_shapes is None:
            values = normalize(pixels[None], settings)[0]
            np.testing.assert_allclose(values, reference.pixel_values[index], rtol=0, atol=PIXEL_TOLERANCE)
            continue
        assert pixels.shape[:2] == tuple(16 * reference.spatial_shapes[index])
        patches = normalize_patches(cut_patches(pixels, patch_size=16), settings)
        wanted = reference.pixel_values[index, : len(patches)]
        np.testing.assert_allclose(patches, wanted, rtol=0, atol=PIXEL_TOLERANCE)
    np.testing.assert_allclose(embedder.embed_texts(texts), reference.text_embeds, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(embedder.embed_images(images), reference.image_embeds, rtol=0, atol=TOLERANCE)
    for file, row in zip(files, reference.scores, strict=True):
        scores = dict(classify(file.read_bytes(), LABELS, embedder=embedder))
        np.testing.assert_allclose([scores[label] for label in LABELS], row, rtol=0, atol=TOLERANCE)


def write_files(folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / str(index) for index in range(len(image_files()))]
    for path, content in zip(paths, image_files(), strict=True):
        path.write_bytes(content)
    return paths


def compare_stand_in(checkpoint: Checkpoint, folder: Path, *, narrowing: int = 32) -> TorchEmbedder:
    """Write a row's stand-in, and compare all that both make of the same files and texts."""
    files = write_files(folder / "images")
    model = write_stand_in(checkpoint, folder, narrowing=narrowing)
    is_gemma = checkpoint.config["text_config"].get("vocab_size") == 256_000
    reference = run_reference(model, folder, files, is_gemma=is_gemma)
    embedder = TorchEmbedder.from_checkpoint(folder, name=checkpoint.name, device="cpu")
    check(embedder, reference, files)
    return embedder


@ROWS
def test_each_row_of_the_family_scores_files_and_texts_as_the_reference(tmp_path: Path, checkpoint: Checkpoint) -> None:
    compare_stand_in(checkpoint, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUE_SIZES)
def test_true_widths_heads_and_images_score_as_the_reference(tmp_path: Path, name: str) -> None:
    checkpoint = find_checkpoint(f"google/{name}")
    assert checkpoint is not None
    embedder = compare_stand_in(checkpoint, tmp_path, narrowing=1)
    assert embedder.info.dimension == checkpoint.figures.dimension


@pytest.mark.parametrize("max_num_patches", [64, 1000, 1024])
def test_naflex_with_other_numbers_of_patches_scores_as_the_reference(tmp_path: Path, max_num_patches: int) -> None:
    files = write_files(tmp_path / "images")
    model = write_stand_in(FAMILY[-1], tmp_path)
    reference = run_reference(model, tmp_path, files, is_gemma=True, max_num_patches=max_num_patches)
    embedder = TorchEmbedder.from_checkpoint(tmp_path, name="naflex", device="cpu", max_num_patches=max_num_patches)
    check(embedder, reference, files)


def test_naflex_vectors_are_the_references_whatever_is_in_the_batch(tmp_path: Path) -> None:
    shapes = [(700, 90), (120, 640), (64, 64), (16, 16), (1, 5000), (333, 333), (800, 600), (700, 90)]
    images = [make_image(width, height, seed) for seed, (width, height) in enumerate(shapes)]
    model = write_stand_in(FAMILY[-2], tmp_path)
    inputs = Siglip2ImageProcessorPil.from_pretrained(tmp_path)(images, return_tensors="pt")
    with torch.no_grad():
        features = model.get_image_features(**inputs).pooler_output
    wanted = torch.nn.functional.normalize(features, dim=-1).numpy()
    for batch_size in (1, 3, 32):
        embedder = TorchEmbedder.from_checkpoint(tmp_path, name="naflex", device="cpu", batch_size=batch_size)
        np.testing.assert_allclose(embedder.embed_images(images), wanted, rtol=0, atol=TOLERANCE)
