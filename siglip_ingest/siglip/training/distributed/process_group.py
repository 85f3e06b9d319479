"""The processes that train one model together: what each needs to know, and what they have to do together.

`torchrun` starts them and tells each its rank through the environment; the command line makes a `ProcessGroup` of that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from siglip_ingest.siglip.model.layers import EncoderLayer

ParallelMode = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True)
class ProcessGroup:
    """The processes that train together, seen from one of them. The default is a process that trains alone.

    Attributes:
        rank: From 0; the first one writes files and talks.
        size: How many there are.
        mode: `ddp` keeps the whole model in each process, `fsdp` a part of it (PyTorch's FSDP2, `fully_shard`).
    """

    rank: int = 0
    size: int = 1
    mode: ParallelMode = "ddp"

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """Make a module average its gradients over the processes in `backward`.

        Under FSDP its parameters are replaced by shards of themselves: make the optimiser afterwards.
        """
        if self.size == 1:
            return module
        if self.mode == "ddp":
            from torch.nn.parallel import DistributedDataParallel

            return DistributedDataParallel(module)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        mesh = init_device_mesh(next(module.parameters()).device.type, (self.size,))
        for layer in [part for part in module.modules() if isinstance(part, EncoderLayer)]:
            fully_shard(layer, mesh=mesh)
        fully_shard(module, mesh=mesh)  # in place: it changes the module's class
        return module

    def without_averaging(self, module: nn.Module) -> AbstractContextManager[None]:
        """Leave gradients where they are in `backward`, for all but the last batch of a step."""
        if self.size == 1:
            return nullcontext()
        if self.mode == "ddp":
            return module.no_sync()  # type: ignore[no-any-return,operator]
        return _without_reduction(module)

    def agree(self, loss: float, device: torch.device, *, is_stopping: bool) -> tuple[float, bool]:
        """Average a loss over the processes, and find out whether one of them is to stop: then all are."""
        if self.size == 1:
            return loss, is_stopping
        totals = torch.tensor([loss, float(is_stopping)], dtype=torch.float64, device=device)
        dist.all_reduce(totals)
        total, stopping = totals.tolist()
        return total / self.size, stopping > 0

    def gather(self, items: Sequence[str]) -> list[str]:
        """Put the texts of all processes together, in the order of their ranks."""
        if self.size == 1:
            return list(items)
        parts: list[list[str] | None] = [None] * self.size
        dist.all_gather_object(parts, list(items))
        return [item for part in parts for item in part or ()]

    def share(self, text: str) -> str:
        """Return the first process's text to all of them."""
        if self.size == 1:
            return text
        shared = [text]
        dist.broadcast_object_list(shared)
        return shared[0]

    def wait_for_all(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()


@contextlib.contextmanager
def join_processes(group: ProcessGroup, device: torch.device, *, timeout_s: float = 1800.0) -> Iterator[None]:
    """Meet the other processes where the environment that torchrun sets says (MASTER_ADDR, MASTER_PORT), and leave.

    Args:
        group: This process's. One that trains alone joins no other.
        device: A CUDA device talks by NCCL, any other by gloo.
        timeout_s: How long one waits for the others before it gives up.
    """
    if group.size == 1:
        yield
        return
    backend = "gloo"
    if device.type == "cuda":
        backend = "nccl"
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, rank=group.rank, world_size=group.size, timeout=timedelta(seconds=timeout_s), init_method="env://"
    )
    try:
        yield
    finally:
        dist.destroy_process_group()


def is_told_by_first(group: ProcessGroup, message: str, environment: Mapping[str, str]) -> bool:
    """Tell whether the first process fails with the same message as this one, and so says it for both.

    Processes that fail can't count on the others being where they are: they leave their message where torchrun's agent
    listens, and others wait two seconds for it. What goes wrong with that leaves everyone to speak for itself.
    """
    if group.size == 1:
        return False
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            environment["MASTER_ADDR"],
            int(environment["MASTER_PORT"]),
            is_master=False,
            timeout=timedelta(seconds=2),
            wait_for_workers=False,
        )
        key = f"siglip_ingest/error/{environment.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        if group.is_first:
            store.set(key, message)
            return False
        return bool(store.get(key) == message.encode())
    except (KeyError, ValueError, RuntimeError):
        return False


def to_whole(tensor: Tensor) -> Tensor:
    """Put a tensor that FSDP has sharded together; all processes must ask. Others are returned as they are."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(whole: Tensor, model: Tensor) -> Tensor:
    """Cut a whole tensor, the same in every process, as FSDP has cut `model`; same device."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(model, DTensor) or whole.ndim == 0:
        return whole.to(model.device) if whole.ndim else whole
    return distribute_tensor(whole.to(model.device), model.device_mesh, model.placements, src_data_rank=None)


@contextlib.contextmanager
def _without_reduction(module: nn.Module) -> Iterator[None]:
    module.set_requires_gradient_sync(False)  # type: ignore[operator]
    try:
        yield
    finally:
        module.set_requires_gradient_sync(True)  # type: ignore[operator]
