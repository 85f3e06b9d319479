from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.training import sigmoid_loss

SCALE, BIAS = torch.tensor([math.log(7.0)]), torch.tensor([-3.0])


def unit_vectors(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 5, generator=torch.Generator().manual_seed(seed)), dim=-1)


def sum_over_pairs(images: torch.Tensor, texts: torch.Tensor, is_match: torch.Tensor) -> float:
    """The paper's equation, word by word: -1/|B| sum_i sum_j log 1 / (1 + exp(z_ij (-t x_i . y_j - b)))."""
    total = 0.0
    for i, image in enumerate(images.tolist()):
        for j, text in enumerate(texts.tolist()):
            z = 1.0 if is_match[i, j] else -1.0
            dot = sum(a * b for a, b in zip(image, text, strict=True))
            total += math.log(1.0 / (1.0 + math.exp(z * (-math.exp(SCALE.item()) * dot - BIAS.item()))))
    return -total / len(images)


def test_loss_equals_a_double_loop_over_pairs() -> None:
    images, texts = unit_vectors(6, seed=1), unit_vectors(6, seed=2)
    loss = sigmoid_loss(images, texts, SCALE, BIAS)
    assert loss.item() == pytest.approx(sum_over_pairs(images, texts, torch.eye(6)), rel=1e-5)


def test_loss_with_given_matches_equals_a_double_loop_over_pairs() -> None:
    images, texts = unit_vectors(4, seed=1), unit_vectors(9, seed=2)
    is_match = torch.rand(4, 9, generator=torch.Generator().manual_seed(3)) < 0.4
    loss = sigmoid_loss(images, texts, SCALE, BIAS, is_match)
    assert loss.item() == pytest.approx(sum_over_pairs(images, texts, is_match), rel=1e-5)


def test_loss_stays_finite_for_extreme_logits() -> None:
    images = unit_vectors(3, seed=1)
    loss = sigmoid_loss(images, -images, torch.tensor([8.0]), BIAS)
    assert torch.isfinite(loss)


def test_different_numbers_of_images_and_texts_need_matches() -> None:
    with pytest.raises(InvalidInputError, match="4 images and 5 texts"):
        sigmoid_loss(unit_vectors(4, seed=1), unit_vectors(5, seed=2), SCALE, BIAS)


def test_matches_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"\(5, 4\)"):
        sigmoid_loss(unit_vectors(4, seed=1), unit_vectors(5, seed=2), SCALE, BIAS, torch.ones(5, 4, dtype=torch.bool))
