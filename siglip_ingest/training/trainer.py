"""The training loop: batches in, a trained model out, and a file to go on from after a stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from siglip_ingest.errors import CheckpointError
from siglip_ingest.model import SiglipModel
from siglip_ingest.training.loss import sigmoid_loss
from siglip_ingest.training.optimizer import make_optimizer, schedule_learning_rate

ModelT = TypeVar("ModelT", bound=nn.Module)
BatchT = TypeVar("BatchT", bound=Any)  # a NamedTuple of tensors, or None; the first has a row per image


class Batch(NamedTuple):
    """What one step learns from.

    Attributes:
        pixel_values: (I, 3, height, width) float32, normalised as the model's preprocessor does.
        input_ids: (T, L) int64, padded to the model's text length.
        is_match: (I, T) bool, which texts are true of which images; None for the i-th of the i-th alone.
    """

    pixel_values: Tensor
    input_ids: Tensor
    is_match: Tensor | None = None


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


class Trainer(Generic[ModelT, BatchT]):
    """Trains a model.

    Args:
        model: Trained in place; must record gradients.
        compute_loss: Maps model and batch to the loss; `compute_sigmoid_loss` for a SigLIP model.
        make_batch: Gives the n-th batch, n from 0. The same n must give the same batch: then a run that was stopped and
            resumed has the same losses as one that wasn't.
        settings: How long and how hard.
        log: Takes one `StepLog` per interval.
    """

    def __init__(
        self,
        model: ModelT,
        compute_loss: Callable[[ModelT, BatchT], Tensor],
        make_batch: Callable[[int], BatchT],
        settings: TrainingSettings,
        *,
        log: Callable[[StepLog], None] = print,
    ) -> None:
        self.model = model
        self.settings = settings
        self.step = 0
        self._make_batch = make_batch
        self._log = log
        self._compute_loss = compute_loss
        self._device = next(model.parameters()).device
        self._optimizer = make_optimizer(model, weight_decay=settings.weight_decay, logit_factor=settings.logit_factor)

    def run(self, until: int | None = None) -> list[float]:
        """Train up to step `until` (the settings' last one by default) and return each step's loss."""
        self.model.train()
        losses: list[float] = []
        seen, logged, started = 0, 0, time.monotonic()
        end = self.settings.steps if until is None else min(until, self.settings.steps)
        while self.step < end:
            loss, count = self._train_step()
            losses.append(loss)
            seen += count
            if self.step % self.settings.log_interval == 0 or self.step == end:
                mean, pace = sum(losses[logged:]) / (len(losses) - logged), seen / (time.monotonic() - started)
                self._log(StepLog(self.step, mean, self._optimizer.param_groups[0]["lr"], pace))
                seen, logged, started = 0, len(losses), time.monotonic()
        self.model.eval()
        return losses

    def save_state(self, path: Path) -> None:
        """Write weights, optimiser state and the step to one safetensors file, replacing it at once."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.model.named_parameters():
            tensors[f"model.{name}"] = parameter.detach().contiguous()
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"{key}.{name}"] = value.detach().contiguous()
        partial = path.with_name(f"{path.name}.partial")
        save_file(tensors, partial, metadata={"trainer": json.dumps({"step": self.step})})
        partial.replace(path)

    def load_state(self, path: Path) -> None:
        """Go on from a file that `save_state` wrote for a model of the same sizes.

        Raises:
            CheckpointError: If the file can't be read or belongs to another model.
        """
        try:
            with safe_open(path, framework="pt") as file:
                self.step = int(json.loads(file.metadata()["trainer"])["step"])
                keys = set(file.keys())
                for name, parameter in self.model.named_parameters():
                    parameter.data.copy_(file.get_tensor(f"model.{name}"))
                    state = {key: f"{key}.{name}" for key in ("step", "exp_avg", "exp_avg_sq")}
                    if state["step"] in keys:
                        self._optimizer.state[parameter] = {k: file.get_tensor(v) for k, v in state.items()}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{path} is no training state of this model ({error}). Train from nothing."
            ) from error

    def _train_step(self) -> tuple[float, int]:
        """Do one optimiser step; return its loss and how many images it saw."""
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
            with torch.autocast(self._device.type, torch.bfloat16, enabled=settings.is_autocast):
                loss = self._compute_loss(self.model, batch) / settings.accumulation
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
            count += len(batch[0])
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return total, count


def compute_sigmoid_loss(model: SiglipModel, batch: Batch) -> Tensor:
    """Embed a batch's pictures and texts and return their pairwise sigmoid loss."""
    image_embeds = model.get_image_features(batch.pixel_values)
    return score_embeddings(model, image_embeds, model.get_text_features(batch.input_ids), batch.is_match)


def score_embeddings(
    model: SiglipModel, image_embeds: Tensor, text_embeds: Tensor, is_match: Tensor | None = None
) -> Tensor:
    """Return the pairwise sigmoid loss of embeddings as the towers give them, not normalised: (I, D) and (T, D).

    It is float32 under autocast too: bfloat16 can't tell logits near the decision apart.
    """
    with torch.autocast(image_embeds.device.type, enabled=False):
        images, texts = (F.normalize(embeds.float(), dim=-1) for embeds in (image_embeds, text_embeds))
        return sigmoid_loss(images, texts, model.logit_scale, model.logit_bias, is_match)
