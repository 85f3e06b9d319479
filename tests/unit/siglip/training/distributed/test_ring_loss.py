from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.training import ring_sigmoid_loss, sigmoid_loss
from tests.unit.siglip.training.ranks import IDS, compare_losses, make_embeddings, run_ranks

TOLERANCE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(
    scope="module",
    params=[pytest.param(2, id="2 processes", marks=pytest.mark.slow), pytest.param(3, id="3 processes")],
)
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_ranks(request.param, tmp_path_factory.mktemp("ring") / "ranks", compare_losses)


def compute_whole(is_match: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
    """The loss of one process that has all pairs, and its gradients."""
    leaves = make_embeddings()
    loss = sigmoid_loss(*leaves, is_match)
    (loss * 3.0).backward()
    return loss.detach(), [leaf.grad for leaf in leaves]


@pytest.mark.parametrize(
    ("name", "is_match"),
    [
        pytest.param("plain", None, id="the i-th text of the i-th image"),
        pytest.param("matched", IDS[:, None] == IDS, id="by ids"),
    ],
)
def test_the_mean_over_processes_is_the_loss_and_the_gradient_of_the_whole_batch(
    ranks: list[dict[str, Any]], name: str, is_match: Tensor | None
) -> None:
    loss, gradients = compute_whole(is_match)
    shares = torch.stack([rank[f"{name} loss"] for rank in ranks])
    torch.testing.assert_close(shares.mean(), loss, **TOLERANCE)
    for kind, expected in enumerate(gradients):
        mean = torch.stack([rank[f"{name} gradients"][kind] for rank in ranks]).mean(dim=0)
        torch.testing.assert_close(mean, expected, **TOLERANCE)


def test_a_text_gets_the_gradient_of_all_images_in_its_own_process_alone(ranks: list[dict[str, Any]]) -> None:
    _, gradients = compute_whole(None)
    share = len(gradients[1]) // len(ranks)
    for number, rank in enumerate(ranks):
        own = slice(number * share, (number + 1) * share)
        of_texts = rank["plain gradients"][1]
        torch.testing.assert_close(of_texts[own], len(ranks) * gradients[1][own], **TOLERANCE)
        assert of_texts.count_nonzero(dim=1).bool().tolist() == [own.start <= i < own.stop for i in range(6)]


def test_texts_are_trained_where_images_are_locked(ranks: list[dict[str, Any]]) -> None:
    leaves = make_embeddings()
    sigmoid_loss(*leaves).backward()
    mean = torch.stack([rank["locked gradients"] for rank in ranks]).mean(dim=0)
    torch.testing.assert_close(mean, leaves[1].grad, **TOLERANCE)


def test_processes_with_different_numbers_of_images_are_refused_everywhere(ranks: list[dict[str, Any]]) -> None:
    assert ["from 1 to 2" in rank["unequal"] for rank in ranks] == [True] * len(ranks)


@pytest.mark.parametrize("is_matched", [False, True], ids=["plain", "by ids"])
def test_a_process_alone_has_the_usual_loss(is_matched: bool) -> None:
    leaves = make_embeddings()
    ids = IDS if is_matched else None
    expected = sigmoid_loss(*leaves, ids[:, None] == ids if ids is not None else None)
    assert ring_sigmoid_loss(*leaves, ids).item() == expected.item()


def test_what_is_no_pairs_is_refused() -> None:
    images, texts, scale, bias = make_embeddings()
    with pytest.raises(InvalidInputError, match="6 images and 5 texts"):
        ring_sigmoid_loss(images, texts[:5], scale, bias)
    with pytest.raises(InvalidInputError, match=r"\(5,\), expected \(6,\)"):
        ring_sigmoid_loss(images, texts, scale, bias, IDS[:5])
