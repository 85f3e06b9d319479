"""Processes that train together, for tests: each is real, talks gloo, and meets the others at a file."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from siglip_ingest.siglip.training import (
    Batch,
    ProcessGroup,
    Trainer,
    TrainingSettings,
    compute_ring_loss,
    compute_sigmoid_loss,
    ring_sigmoid_loss,
)
from siglip_ingest.siglip.training.distributed.process_group import to_whole
from tests.checkpoints import tiny_config

PAIRS = 6
STEPS = TrainingSettings(steps=4, learning_rate=3e-3, warmup_steps=1, accumulation=2, is_autocast=False)
IDS = torch.tensor([0, 1, 2, 0, 2, 2])  # pairs of the same id lie in different processes


def run_ranks(size: int, folder: Path, work: Callable[..., None]) -> list[dict[str, Any]]:
    """Run `work(place, folder, results)` in `size` processes and return each one's results."""
    folder.mkdir()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_start, args=(rank, size, folder, work)) for rank in range(size)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.join(timeout=120)
        assert [process.exitcode for process in processes] == [0] * size
    finally:
        for process in processes:
            process.kill()
            process.join()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _start(rank: int, size: int, folder: Path, work: Callable[..., None]) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=size)
    results: dict[str, Any] = {}
    work(ProcessGroup(rank, size), folder, results)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()
    os._exit(0)  # as the command does, see siglip_ingest/cli/train.py


def make_embeddings() -> list[Tensor]:
    """Image and text embeddings, logit scale and bias, as leaves that record gradients."""
    generator = torch.Generator().manual_seed(4)
    units = [F.normalize(torch.randn(PAIRS, 8, generator=generator), dim=-1) for _ in range(2)]
    return [tensor.requires_grad_() for tensor in (*units, torch.tensor([1.7]), torch.tensor([-3.0]))]


def make_model() -> SiglipModel:
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig.from_dict(tiny_config(image_size=16)))
    model.init_weights()
    return model


def make_batch(number: int, group: ProcessGroup | None = None) -> Batch:
    """This process's part of six pairs; by default all of them."""
    group = group or ProcessGroup()
    generator = torch.Generator().manual_seed(number)
    pixel_values = torch.randn(PAIRS, 3, 16, 16, generator=generator)
    input_ids = torch.randint(0, 72, (PAIRS, 16), generator=generator)
    mine = slice_of(group)
    return Batch(pixel_values[mine], input_ids[mine], match_ids=(IDS + number % 2)[mine])


def slice_of(group: ProcessGroup) -> slice:
    share = PAIRS // group.size
    return slice(group.rank * share, (group.rank + 1) * share)


class Whole(nn.Module):
    """A model and its loss in one module, as the trainer has it."""

    def __init__(self, model: SiglipModel, compute_loss: Callable[[SiglipModel, Batch], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.compute_loss = compute_loss

    def forward(self, batch: Batch) -> Tensor:
        return self.compute_loss(self.model, batch)


def compute_gradients(group: ProcessGroup) -> dict[str, Tensor]:
    """Each parameter's gradient for one batch, after the processes have averaged it."""
    model = make_model()
    module_with_loss = group.wrap(Whole(model, compute_sigmoid_loss if group.size == 1 else compute_ring_loss))
    module_with_loss(make_batch(7, group)).backward()
    return {name: to_whole(p.grad).clone() for name, p in model.named_parameters() if p.grad is not None}


def make_trainer(group: ProcessGroup, lines: list[Any] | None = None) -> Trainer[SiglipModel, Batch]:
    compute_loss = compute_sigmoid_loss if group.size == 1 else compute_ring_loss
    log = ([] if lines is None else lines).append
    return Trainer(make_model(), compute_loss, lambda n: make_batch(n, group), STEPS, log=log, group=group)


def compare_losses(group: ProcessGroup, folder: Path, results: dict[str, Any]) -> None:
    """What tests/unit/siglip/training/test_distributed_loss.py looks at."""
    mine = slice_of(group)
    for name, ids in (("plain", None), ("matched", IDS[mine])):
        leaves = make_embeddings()
        loss = ring_sigmoid_loss(leaves[0][mine], leaves[1][mine], leaves[2], leaves[3], ids)
        (loss * 3.0).backward()
        results[f"{name} loss"] = loss.detach()
        results[f"{name} gradients"] = [leaf.grad for leaf in leaves]
    leaves = make_embeddings()
    leaves[0].requires_grad_(False)  # as under a locked vision tower
    ring_sigmoid_loss(leaves[0][mine], leaves[1][mine], leaves[2], leaves[3]).backward()
    results["locked gradients"] = leaves[1].grad
    few = slice(0, 1 if group.rank else 2)
    try:
        ring_sigmoid_loss(leaves[0][few], leaves[1][few], leaves[2], leaves[3])
    except InvalidInputError as error:
        results["unequal"] = str(error)


def train_together(group: ProcessGroup, folder: Path, results: dict[str, Any]) -> None:
    """What tests/unit/siglip/training/test_parallel.py looks at."""
    for mode in ("ddp", "fsdp"):
        here = ProcessGroup(group.rank, group.size, mode)
        results[f"{mode} gradients"] = compute_gradients(here)
        lines: list[Any] = []
        trainer = make_trainer(here, lines)
        results[f"{mode} losses"] = trainer.run(until=2)
        trainer.save_state(folder / f"{mode}.safetensors")
        results[f"{mode} losses"] += trainer.run()
        results[f"{mode} lines"] = [line.step for line in lines]
        results[f"{mode} weights"] = trainer.get_weights()
    resumed = make_trainer(ProcessGroup(group.rank, group.size, "fsdp"))
    resumed.load_state(folder / "ddp.safetensors")
    results["resumed losses"] = resumed.run()
    results["gathered"] = group.gather([f"from {group.rank}"])
