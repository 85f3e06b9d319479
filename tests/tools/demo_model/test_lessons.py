from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.siglip.model import SiglipModel
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from tools.demo_model.attributes import ATTRIBUTES, DemoBatch, ModelWithHeads, compute_demo_loss
from tools.demo_model.pool import LABELS_PER_BATCH, DemoBatches, draw_pool, draw_training_image
from tools.demo_model.tokenizer import TEXT_LENGTH, count_pieces, train_tokenizer
from tools.demo_model.train import IMAGE_SIZE, make_config
from tools.demo_model.warm_start import make_position_codes, warm_start

TOKENIZER = load_tokenizer(CHECKPOINT, max_length=TEXT_LENGTH)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.stack([draw_training_image(seed, IMAGE_SIZE) for seed in range(48)])


@pytest.fixture
def model_with_heads(images: np.ndarray) -> ModelWithHeads:
    torch.manual_seed(0)
    model = SiglipModel(make_config(count_pieces(CHECKPOINT)))
    model.init_weights()
    warm_start(model, DemoBatches(images, TOKENIZER, batch_size=16).sample_pixels(48))
    return ModelWithHeads(model)


def equal(first: DemoBatch, second: DemoBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None)


def test_a_drawn_pool_holds_the_image_of_each_seed(tmp_path: Path) -> None:
    draw_pool(tmp_path / "images.npy", 6, size=32, processes=1, progress=[].append)
    pool = np.load(tmp_path / "images.npy")
    assert pool.shape == (6, 32, 32, 3)
    assert np.array_equal(pool[5], draw_training_image(5, 32))
    assert [path.name for path in tmp_path.iterdir()] == ["images.npy"]


def test_a_batch_number_always_gives_the_same_batch(images: np.ndarray) -> None:
    first, second = (DemoBatches(images, TOKENIZER, batch_size=16) for _ in range(2))
    assert equal(first(5), second(5))
    assert not equal(first(5)._replace(input_ids=None, is_match=None), first(4)._replace(input_ids=None, is_match=None))


def test_a_batch_has_a_true_full_and_partial_caption_for_each_image(images: np.ndarray) -> None:
    batch = DemoBatches(images, TOKENIZER, batch_size=16)(0)
    assert batch.pixel_values.shape == (16, 3, IMAGE_SIZE, IMAGE_SIZE)
    assert batch.pixel_values.abs().max() <= 1.0
    assert batch.targets.shape == (16, len(ATTRIBUTES))
    assert batch.input_ids is not None
    assert batch.is_match is not None
    assert batch.is_match.shape == (16, len(batch.input_ids))
    assert len(batch.input_ids) >= 48 + LABELS_PER_BATCH
    assert batch.is_match[:, :16].diagonal().all()
    assert batch.is_match[:, 16:32].diagonal().all()
    assert batch.is_match[:, 32:48].diagonal().float().mean() < 0.5


def test_an_epoch_shows_every_image_once(images: np.ndarray) -> None:
    batches = DemoBatches(images, TOKENIZER, batch_size=16)
    rows = np.concatenate([batches._choose_rows(number) for number in range(3)])
    assert sorted(rows) == list(range(48))


def test_both_lessons_teach_every_weight_that_they_use(model_with_heads: ModelWithHeads, images: np.ndarray) -> None:
    batches = DemoBatches(images, TOKENIZER, batch_size=16)
    compute_demo_loss(model_with_heads, batches.make_wordless(0)).backward()
    taught = {name for name, parameter in model_with_heads.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[0] for name in taught} == {"siglip", "head"}
    assert not any("text_model" in name for name in taught)
    compute_demo_loss(model_with_heads, batches(0)).backward()
    assert all(parameter.grad is not None for parameter in model_with_heads.parameters())


def test_a_warm_start_whitens_patches(model_with_heads: ModelWithHeads, images: np.ndarray) -> None:
    pixel_values = DemoBatches(images, TOKENIZER, batch_size=16).sample_pixels(48)
    with torch.inference_mode():
        codes = (
            model_with_heads.siglip.vision_model.embeddings.patch_embedding(pixel_values)
            .flatten(2)
            .transpose(1, 2)
            .flatten(0, 1)
        )
    assert codes.mean(dim=0).abs().max() < 0.01
    strongest = torch.cov(codes.T)[:20, :20]
    assert torch.allclose(strongest, 0.25 * torch.eye(20), atol=0.03)


def test_near_positions_have_near_codes() -> None:
    codes = make_position_codes(8, 192)
    assert codes.shape == (64, 192)
    distances = torch.cdist(codes[:1], codes)[0].reshape(8, 8)
    assert distances[0, 1] < distances[0, 3] < distances[0, 7]
    assert distances[1, 0] == pytest.approx(distances[0, 1].item(), rel=1e-4)


def test_the_tokenizer_is_learned_alike_each_time(tmp_path: Path) -> None:
    train_tokenizer(tmp_path)
    assert (tmp_path / "spiece.model").read_bytes() == (CHECKPOINT / "spiece.model").read_bytes()
    assert TOKENIZER(["sunset over water"])[0, :4].tolist().count(2) == 0
