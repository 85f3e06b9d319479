"""`Recipe`: everything that determines the result of a fine-tuning run."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import read_config
from siglip_ingest.siglip.preprocess.image import PREPROCESSOR_FILE, ImageSettings
from siglip_ingest.siglip.training.freezing import NONE
from siglip_ingest.siglip.training.trainer import TrainingSettings

Task = Literal["captions", "classify"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a run computes.

    Attributes:
        data: What `find_pairs` or, for the task `classify`, `find_classes` takes.
        checkpoint: Folder of the checkpoint to start from.
        task: `captions` trains both towers with the sigmoid loss, `classify` a classifier on the vision tower.
        steps: Optimiser steps; by default as many as `epochs` make.
        epochs: How often the data are gone through, where `steps` isn't given.
        batch_size: Images that meet in one loss, over all processes.
        accumulation: Batches whose gradients are averaged in one step.
        learning_rate: At its peak; by default 1e-5, or 1e-3 for a classifier alone.
        warmup_steps: Over which it rises; by default a tenth of the steps, at most 200.
        weight_decay: Of matrices.
        freeze: Patterns of what isn't trained, see `freezing.freeze`; by default nothing, or `vision` for a classifier.
        unfreeze: Patterns of what of it is trained nevertheless.
        seed: Of the order of images and of new weights.
        is_autocast: Whether matrix products run in bfloat16.
        max_num_patches: NaFlex: most patches of an image; by default what the checkpoint's preprocessor says.
    """

    data: str
    checkpoint: Path
    task: Task = "captions"
    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 32
    accumulation: int = 1
    learning_rate: float | None = None
    warmup_steps: int | None = None
    weight_decay: float = 1e-4
    freeze: tuple[str, ...] = ()
    unfreeze: tuple[str, ...] = ()
    seed: int = 0
    is_autocast: bool = False
    max_num_patches: int | None = None

    @property
    def frozen(self) -> tuple[str, ...]:
        """What isn't trained, by name."""
        return self.freeze or ((NONE,) if self.task == "captions" else ("vision",))

    def find_steps(self, batches_per_epoch: int) -> int:
        """Return the number of optimiser steps, at least one."""
        if self.steps is not None:
            return self.steps
        return max(1, math.floor(self.epochs * batches_per_epoch / self.accumulation))

    def make_settings(self, steps: int, log_interval: int) -> TrainingSettings:
        """Return what the trainer takes."""
        is_head_alone = self.task == "classify" and self.frozen == ("vision",) and not self.unfreeze
        default_rate = 1e-3 if is_head_alone else 1e-5
        return TrainingSettings(
            steps=steps,
            learning_rate=default_rate if self.learning_rate is None else self.learning_rate,
            warmup_steps=min(200, steps // 10) if self.warmup_steps is None else self.warmup_steps,
            weight_decay=self.weight_decay,
            accumulation=self.accumulation,
            is_autocast=self.is_autocast,
            log_interval=log_interval,
        )

    def read_image_settings(self) -> ImageSettings:
        """Read the checkpoint's preprocessor, and hold it against its model.

        Raises:
            CheckpointError: If they don't fit.
            InvalidInputError: If patches are limited that aren't counted.
        """
        settings = ImageSettings.from_file(self.checkpoint / PREPROCESSOR_FILE)
        config = read_config(self.checkpoint).vision_config
        if settings.is_naflex != config.is_naflex or (settings.is_naflex and settings.patch_size != config.patch_size):
            raise CheckpointError(
                f"{self.checkpoint}: {PREPROCESSOR_FILE} and config.json belong to different models: only one is "
                "NaFlex's, or their patches differ."
            )
        if self.max_num_patches is None:
            return settings
        if not settings.is_naflex:
            raise InvalidInputError(
                f"{self.checkpoint} takes images of a fixed size: a number of patches can't be chosen."
            )
        return replace(settings, max_num_patches=self.max_num_patches)
