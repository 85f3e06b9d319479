"""The committed checkpoint: its files, its figures, and that the reference reads it alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.world import DEMO_SEED, render_scene
from siglip_ingest.siglip.preprocess.image import ImageSettings, normalize, resize_image
from tools.demo_model.evaluate import Encoder, choose_examples, evaluate, measure

FILES = {
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer_config.json",
}
TEXTS = ["sunset over water", "This is a photo of snow.", "a red circle left of a blue square", "Zebra!", ""]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.from_checkpoint(CHECKPOINT)


PREPARED = ".siglip_ingest"


def test_checkpoint_has_the_published_files_in_8_megabytes() -> None:
    files = [path for path in CHECKPOINT.iterdir() if path.name != PREPARED]  # what a worker prepared here
    assert {path.name for path in files} == FILES
    assert sum(path.stat().st_size for path in files) <= 8_000_000


def test_weights_are_stored_in_float16_but_for_the_two_constants() -> None:
    header = (CHECKPOINT / "model.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    tensors = json.loads(header[8 : 8 + length])
    wide = {name for name, entry in tensors.items() if entry.get("dtype", "F16") != "F16"}
    assert wide == {"logit_scale", "logit_bias"}


def test_figures_hold_on_200_unseen_images(encoder: Encoder) -> None:
    examples = choose_examples(200)
    figures = measure(encoder, examples, encoder.prepare_images([example.description for example in examples]))
    assert figures.recall_at_1 >= 0.90
    assert figures.recall_at_10 >= 0.99
    assert figures.sky_accuracy >= 0.95
    assert figures.ground_accuracy >= 0.95
    assert figures.precision >= 0.90
    assert figures.found >= 0.80


@pytest.mark.slow
def test_figures_hold_on_1000_unseen_images() -> None:
    figures = evaluate()
    assert figures.images == 1000
    assert figures.recall_at_1 >= 0.90
    assert figures.recall_at_10 >= 0.99
    assert figures.sky_accuracy >= 0.95
    assert figures.ground_accuracy >= 0.95
    assert figures.precision >= 0.90
    assert figures.found >= 0.80


def test_the_reference_gives_the_same_tokens_pixels_and_scores(encoder: Encoder) -> None:
    tokenizer = transformers.SiglipTokenizer.from_pretrained(CHECKPOINT)
    processor = transformers.SiglipImageProcessorPil.from_pretrained(CHECKPOINT)
    model = transformers.SiglipModel.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    scenes = [render_scene(DEMO_SEED + number) for number in range(6)]
    images, texts = [scene.image for scene in scenes], [*TEXTS, *(scene.caption for scene in scenes)]
    tokens = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
    pixel_values = processor(images=images, return_tensors="pt").pixel_values
    with torch.inference_mode():
        logits = model(input_ids=tokens.input_ids, pixel_values=pixel_values).logits_per_image

    settings = ImageSettings.from_file(CHECKPOINT / "preprocessor_config.json")
    pixels = np.stack([resize_image(image, settings) for image in images])
    assert np.allclose(normalize(pixels, settings), pixel_values.numpy(), atol=1e-6)
    scores = encoder.score(encoder.embed_pixels(pixels) @ encoder.embed_texts(texts).T)
    assert np.allclose(scores, torch.sigmoid(logits).numpy(), atol=1e-4)


def test_publishing_replaces_a_folder_whole(tmp_path: Path) -> None:
    from tools.demo_model.train import publish

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "config.json").write_text("{}")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "stale.txt").write_text("")
    publish(tmp_path / "new", tmp_path / "old")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["config.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
