"""The training loop, which can be stopped and resumed from a file."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.training.distributed.process_group import ProcessGroup, shard_like, to_whole
from siglip_ingest.siglip.training.optimizer import make_optimizer, schedule_learning_rate

ModelT = TypeVar("ModelT", bound=nn.Module)
BatchT = TypeVar("BatchT", bound=Any)  # a NamedTuple of tensors, or None; the first has a row per image


class StepLog(NamedTuple):
    """What is told of a step interval: the last step's number (from 1), the interval's mean loss, the pace."""

    step: int
    loss: float
    learning_rate: float
    images_per_s: float

    def __str__(self) -> str:
        """Return one line."""
        return (
            f"step {self.step}  loss {self.loss:.4f}  learning_rate {self.learning_rate:.2e}  "
            f"{self.images_per_s:.0f} images/s"
        )


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long and how hard to train.

    Attributes:
        steps: Optimiser steps in all; the cosine ends here.
        learning_rate: At its peak, after `warmup_steps`.
        warmup_steps: Steps over which the learning rate rises.
        weight_decay: AdamW's, on matrices only.
        logit_factor: How much faster than the rest the logit's scale and bias learn. Short runs need it: at 0.001 a
            step they would not get far from where they start.
        clip_norm: The gradient's norm is cut to this.
        accumulation: Batches whose gradients are averaged in one step. Texts meet only the images of their own batch.
        is_autocast: Whether matrix products run in bfloat16.
        log_interval: Steps between two log lines.
    """

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 1e-4
    logit_factor: float = 1.0
    clip_norm: float = 1.0
    accumulation: int = 1
    is_autocast: bool = True
    log_interval: int = 50


@dataclass
class _Interval:
    """What the next log line is made of: each step's loss, images seen, seconds in steps. A save keeps it."""

    losses: list[float] = field(default_factory=list)
    seen: int = 0
    seconds: float = 0.0


class _ModuleWithLoss(nn.Module, Generic[ModelT, BatchT]):
    """Model and loss as one module: what DistributedDataParallel and FSDP wrap has to be called."""

    def __init__(self, model: ModelT, compute_loss: Callable[[ModelT, BatchT], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.compute_loss = compute_loss

    def forward(self, batch: BatchT) -> Tensor:
        return self.compute_loss(self.model, batch)


class Trainer(Generic[ModelT, BatchT]):
    """Trains a model, in one process or together with others that do the same.

    Args:
        model: Trained in place; parameters that record no gradients stay as they are. Under FSDP each process has only
            a part of it afterwards, and `get_weights` puts it together.
        compute_loss: Maps model and batch to the loss; `compute_sigmoid_loss` for a SigLIP model. With several
            processes the mean of theirs is the loss, as `compute_ring_loss` and every mean over a batch have it.
        make_batch: Gives this process's part of the n-th batch, n from 0. The same n must give the same batch: then a
            run that was stopped and resumed has the same losses as one that wasn't.
        settings: How long and how hard.
        log: Takes one `StepLog` per interval.
        group: This process's among those that train together; all of them must make the same calls.
    """

    def __init__(
        self,
        model: ModelT,
        compute_loss: Callable[[ModelT, BatchT], Tensor],
        make_batch: Callable[[int], BatchT],
        settings: TrainingSettings,
        *,
        log: Callable[[StepLog], None] = print,
        group: ProcessGroup | None = None,
    ) -> None:
        self.model = model
        self.settings = settings
        self.step = 0
        self.is_stopped = False
        self._make_batch = make_batch
        self._log = log
        self._group = group or ProcessGroup()
        self._interval = _Interval()
        self._device = next(model.parameters()).device
        self._module_with_loss = self._group.wrap(_ModuleWithLoss(model, compute_loss))
        self._optimizer = make_optimizer(model, weight_decay=settings.weight_decay, logit_factor=settings.logit_factor)

    def run(self, until: int | None = None, *, is_stopping: Callable[[], bool] = lambda: False) -> list[float]:
        """Train up to step `until` (the settings' last one by default) and return each step's loss.

        `is_stopping` is asked after each step whether to end there; what one process says holds for all, and
        `is_stopped` tells.
        """
        self.model.train()
        losses: list[float] = []
        end = self.settings.steps if until is None else min(until, self.settings.steps)
        while self.step < end and not self.is_stopped:
            started = time.monotonic()
            loss, count = self._train_step(is_stopping)
            losses.append(loss)
            interval = self._interval
            interval.losses.append(loss)
            interval.seen += count
            interval.seconds += time.monotonic() - started
            if self.step % self.settings.log_interval == 0 or self.step == self.settings.steps:
                mean, pace = sum(interval.losses) / len(interval.losses), interval.seen / interval.seconds
                self._interval = _Interval()
                self._log(StepLog(self.step, mean, self._optimizer.param_groups[0]["lr"], pace))
        self.model.eval()
        return losses

    def save_state(self, path: Path) -> None:
        """Write trained weights, optimiser state and the step to one safetensors file, replacing it at once.

        The first process writes it. It is whole, so that other numbers of processes can go on from it.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                self._keep_whole(tensors, f"model.{name}", parameter)
                for key, value in self._optimizer.state.get(parameter, {}).items():
                    self._keep_whole(tensors, f"{key}.{name}", value)
        if not self._group.is_first:
            return
        progress = {"step": self.step, "interval": dataclasses.asdict(self._interval)}
        partial = path.with_name(f"{path.name}.partial")
        save_file(tensors, partial, metadata={"trainer": json.dumps(progress)})
        partial.replace(path)

    def load_state(self, path: Path) -> None:
        """Go on from a file that `save_state` wrote for a model of the same sizes.

        Raises:
            CheckpointError: If the file can't be read or belongs to another model.
        """
        try:
            with safe_open(path, framework="pt") as file:
                progress = json.loads(file.metadata()["trainer"])
                self.step, self._interval = int(progress["step"]), _Interval(**progress.get("interval", {}))
                keys = set(file.keys())
                for name, parameter in self.model.named_parameters():
                    if not parameter.requires_grad:
                        continue
                    weights = file.get_tensor(f"model.{name}")
                    if weights.shape != parameter.shape:
                        raise ValueError(f"{name} is {tuple(weights.shape)}, not {tuple(parameter.shape)}")  # noqa: TRY301
                    parameter.data.copy_(shard_like(weights, parameter))
                    state = {key: f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
                    if state["step"] in keys:
                        whole = {key: file.get_tensor(stored) for key, stored in state.items()}
                        self._optimizer.state[parameter] = {k: shard_like(v, parameter) for k, v in whole.items()}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} is no training state of this model ({error}). Train from nothing."
            ) from error

    def get_weights(self) -> dict[str, Tensor]:
        """Return all of the model's tensors, whole and on the CPU, in the first process; in others nothing.

        All processes must call it together.
        """
        tensors: dict[str, Tensor] = {}
        for name, tensor in self.model.state_dict().items():
            self._keep_whole(tensors, name, tensor)
        return tensors

    def _keep_whole(self, tensors: dict[str, Tensor], name: str, tensor: Tensor) -> None:
        """Put a tensor's whole among `tensors` in the first process; the others help."""
        whole = to_whole(tensor.detach())
        if self._group.is_first:
            tensors[name] = whole.cpu().contiguous()

    def _train_step(self, is_stopping: Callable[[], bool]) -> tuple[float, int]:
        """Do one optimiser step; return its loss and how many images it saw, both over all processes.

        Raises:
            InvalidInputError: If the loss isn't a finite number; the weights are left as they were.
        """
        settings = self.settings
        learning_rate = schedule_learning_rate(
            self.step, steps=settings.steps, warmup_steps=settings.warmup_steps, peak=settings.learning_rate
        )
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        total, count = 0.0, 0
        for index in range(settings.accumulation):
            batch = self._make_batch(self.step * settings.accumulation + index)
            batch = batch._make(None if tensor is None else tensor.to(self._device) for tensor in batch)
            is_last = index == settings.accumulation - 1
            with nullcontext() if is_last else self._group.without_averaging(self._module_with_loss):
                with torch.autocast(self._device.type, torch.bfloat16, enabled=settings.is_autocast):
                    loss = self._module_with_loss(batch) / settings.accumulation
                loss.backward()
            total += loss.item()
            count += len(batch[0])
        total, self.is_stopped = self._group.agree(total, self._device, is_stopping=is_stopping())
        if not math.isfinite(total):
            raise InvalidInputError(
                f"The loss of step {self.step + 1} is {total}: training has left the rails. Try a lower learning rate."
            )
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return total, count * self._group.size
