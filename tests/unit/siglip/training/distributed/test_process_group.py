"""Data-parallel training by DDP and FSDP, beside one process that sees the whole batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from siglip_ingest.siglip.training import ProcessGroup
from tests.unit.siglip.training.ranks import compute_gradients, make_trainer, run_ranks, train_together

MODES = ["ddp", "fsdp"]


@pytest.fixture(
    scope="module",
    params=[pytest.param(2, id="2 processes"), pytest.param(3, id="3 processes", marks=pytest.mark.slow)],
)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parallel") / "ranks"
    run_ranks(request.param, folder, train_together)
    return folder


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[dict[str, Any]]:
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("*.pt"))]


@pytest.fixture(scope="module")
def alone() -> list[float]:
    """Each step's loss, trained in one process."""
    return make_trainer(ProcessGroup()).run()


@pytest.mark.parametrize("mode", MODES)
def test_every_parameter_gets_the_gradient_of_the_whole_batch_in_every_process(
    ranks: list[dict[str, Any]], mode: str
) -> None:
    expected = compute_gradients(ProcessGroup())
    for rank in ranks:
        assert rank[f"{mode} gradients"].keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(rank[f"{mode} gradients"][name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize("mode", MODES)
def test_losses_are_those_of_one_process(ranks: list[dict[str, Any]], alone: list[float], mode: str) -> None:
    for rank in ranks:
        assert rank[f"{mode} losses"] == pytest.approx(alone, rel=1e-5)


def test_both_ways_give_the_same_weights_to_the_first_process_alone(ranks: list[dict[str, Any]]) -> None:
    first, *others = ranks
    assert all(not rank[f"{mode} weights"] for rank in others for mode in MODES)
    shapes = {name: tensor.shape for name, tensor in make_trainer(ProcessGroup()).get_weights().items()}
    for mode in MODES:
        assert {name: tensor.shape for name, tensor in first[f"{mode} weights"].items()} == shapes
    for name, tensor in first["ddp weights"].items():
        if not name.endswith("k_proj.bias"):  # softmax ignores it: its gradient is rounding, whose sign Adam follows
            torch.testing.assert_close(tensor, first["fsdp weights"][name], rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("mode", MODES)
def test_one_process_goes_on_from_the_state_of_several(folder: Path, alone: list[float], mode: str) -> None:
    trainer = make_trainer(ProcessGroup())
    trainer.load_state(folder / f"{mode}.safetensors")
    assert trainer.step == 2
    assert trainer.run() == pytest.approx(alone[2:], rel=1e-5)


def test_fsdp_goes_on_from_the_state_of_ddp(ranks: list[dict[str, Any]], alone: list[float]) -> None:
    assert ranks[0]["resumed losses"] == pytest.approx(alone[2:], rel=1e-5)


def test_what_processes_say_is_put_together_in_order(ranks: list[dict[str, Any]]) -> None:
    assert [rank["gathered"] for rank in ranks] == [[f"from {number}" for number in range(len(ranks))]] * len(ranks)
