"""Fine-tunes a checkpoint on a data set and writes the new checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import load_model, load_part, read_config, write_checkpoint
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.model import SiglipClassifier, SiglipModel
from siglip_ingest.siglip.model.classification import ARCHITECTURE, CLASSIFIER_NAMES
from siglip_ingest.siglip.model.config import name_architecture
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, ImageLimits
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from siglip_ingest.siglip.training.data import (
    ClassBatches,
    ImageReader,
    PairBatches,
    TrainingData,
    find_classes,
    find_pairs,
)
from siglip_ingest.siglip.training.distributed.process_group import ProcessGroup
from siglip_ingest.siglip.training.freezing import freeze
from siglip_ingest.siglip.training.interruption import InterruptedTrainingError, Interruption
from siglip_ingest.siglip.training.objectives import compute_class_loss, compute_ring_loss, compute_sigmoid_loss
from siglip_ingest.siglip.training.recipe import Recipe
from siglip_ingest.siglip.training.run_folder import RunFolder
from siglip_ingest.siglip.training.trainer import StepLog, Trainer


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told of a run as it goes; only the first process tells.

    Attributes:
        log: Takes one line per interval, and the steps in all.
        say: Takes sentences: what was found, what can't be used.
    """

    log: Callable[[StepLog, int], None] = lambda _line, _steps: None
    say: Callable[[str], None] = lambda _text: None


def fine_tune(
    recipe: Recipe,
    target: Path,
    *,
    device: torch.device,
    group: ProcessGroup | None = None,
    is_resumed: bool = False,
    log_interval: int = 10,
    save_interval: int = 500,
    listeners: Listeners | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
    interruption: Interruption | None = None,
) -> dict[str, Any]:
    """Train, and write a checkpoint that transformers and `load_model` read.

    Args:
        recipe: What to compute.
        target: The folder to write, see `run_folder`.
        device: Where this process computes.
        group: This process's among those that train together; all of them must call this.
        is_resumed: Whether to go on with a run in `target` that was stopped. It has the losses that it would have had.
        log_interval: Steps between two log lines.
        save_interval: Steps between two saves of checkpoint and state.
        listeners: Who is told.
        limits: Larger images are left out.
        interruption: Takes signals while steps are done; one that comes ends the run after its step, saved.

    Returns:
        What came of it, ready for JSON: steps, loss, images, and those that could not be used.

    Raises:
        InvalidInputError: If data, folder, batch or patterns can't be used, or the loss isn't finite.
        CheckpointError: If the checkpoint or the state can't be read.
        InterruptedTrainingError: If a signal came.
    """
    group, listeners = group or ProcessGroup(), listeners or Listeners()
    say = listeners.say if group.is_first else (lambda _text: None)
    data = find_classes(recipe.data) if recipe.task == "classify" else find_pairs(recipe.data)
    settings = recipe.read_image_settings()
    folder = RunFolder(target)
    with (
        ImageReader(
            data.examples, settings, batch_size=recipe.batch_size, seed=recipe.seed, group=group, limits=limits
        ) as images,
        closing(folder),
    ):
        steps = recipe.find_steps(images.batches_per_epoch)
        _begin(folder, recipe, data, steps, group, is_resumed=is_resumed)
        if (result := folder.find_result()) is not None:
            say(f"The run in {target} is finished already.")
            return result
        _describe_data(data, steps, say)
        report = _ProgressReport(data, folder, images, group, listeners, steps)
        trainer = _make_trainer(recipe, data, images, steps, device, group, log_interval, report.take)
        if folder.state.exists():
            trainer.load_state(folder.state)
            say(f"Going on from step {trainer.step}.")
        if group.is_first:
            folder.cut_log(trainer.step)
        if trainer.step == steps:
            _save(recipe, trainer, folder, group)  # it was stopped after its last step
        with interruption or nullcontext():
            while trainer.step < steps and not trainer.is_stopped:
                until = (trainer.step // save_interval + 1) * save_interval
                trainer.run(until, is_stopping=interruption.has_come if interruption else lambda: False)
                _save(recipe, trainer, folder, group)
        if trainer.step < steps:
            raise InterruptedTrainingError(trainer.step, steps)
    result = {
        "checkpoint": str(target),
        "steps": steps,
        "loss": folder.find_last_loss(),
        "images": len(data.examples),
        "unusable": report.unusable,
    }
    if group.is_first:
        folder.finish(result)
    group.wait_for_all()
    return result


class _ProgressReport:
    """Passes on what happens: lines to the log, and which images turn out to be broken, in any process."""

    def __init__(
        self,
        data: TrainingData,
        folder: RunFolder,
        images: ImageReader,
        group: ProcessGroup,
        listeners: Listeners,
        steps: int,
    ) -> None:
        self.unusable = list(data.left_out)
        self._folder = folder
        self._images = images
        self._group = group
        self._listeners = listeners
        self._steps = steps
        self._told = 0

    def take(self, line: StepLog) -> None:
        """Take an interval's line; all processes have it."""
        found = [f"{name}: {reason}" for name, reason in self._images.broken.copy().items()]
        new = self._group.gather(found[self._told :])
        self._told = len(found)
        self.unusable += new
        if self._group.is_first:
            self._folder.append_log(line._asdict())
            for sentence in new:
                self._listeners.say(f"Can't be used: {sentence}")
            self._listeners.log(line, self._steps)


def _save(recipe: Recipe, trainer: Trainer[Any, Any], folder: RunFolder, group: ProcessGroup) -> None:
    """Write state and checkpoint; all processes together."""
    trainer.save_state(folder.state)
    weights = trainer.get_weights()
    if not group.is_first:
        return
    is_classifier = isinstance(trainer.model, SiglipClassifier)
    config = trainer.model.config.to_dict()
    if is_classifier:
        config["architectures"] = [name_architecture(trainer.model.config.model_type, ARCHITECTURE)]
    folder.copy_processor(recipe.checkpoint, has_text=not is_classifier, max_num_patches=recipe.max_num_patches)
    write_checkpoint(weights, config, folder.path, dtype=torch.float32)


def _begin(
    folder: RunFolder, recipe: Recipe, data: TrainingData, steps: int, group: ProcessGroup, *, is_resumed: bool
) -> None:
    """Let the first process prepare the folder; its refusal is everybody's.

    Raises:
        InvalidInputError: If the folder can't be used.
    """
    if folder.path.exists() and folder.path.resolve() == recipe.checkpoint.resolve():
        raise InvalidInputError(f"{folder.path} is the checkpoint to start from: name another folder to write.")
    refusal = ""
    if group.is_first:
        written = dataclasses.asdict(recipe) | {"checkpoint": str(recipe.checkpoint), "freeze": recipe.frozen}
        try:
            folder.begin(written | {"steps": steps, "images": len(data.examples)}, is_resumed=is_resumed)
        except InvalidInputError as error:
            refusal = str(error)
    if refusal := group.share(refusal):
        raise InvalidInputError(refusal)


def _describe_data(data: TrainingData, steps: int, say: Callable[[str], None]) -> None:
    classes = f" of {len(data.classes)} classes" if data.classes else ""
    say(f"{len(data.examples):,} images{classes}, {steps:,} steps.")
    for sentence in data.left_out[:3]:
        say(f"Can't be used: {sentence}")
    if len(data.left_out) > 3:
        say(f"Can't be used: {len(data.left_out) - 3} more for such a reason.")


def _make_trainer(
    recipe: Recipe,
    data: TrainingData,
    images: ImageReader,
    steps: int,
    device: torch.device,
    group: ProcessGroup,
    log_interval: int,
    log: Callable[[StepLog], None],
) -> Trainer[Any, Any]:
    settings = recipe.make_settings(steps, log_interval)
    if recipe.task == "classify":
        classifier = load_classifier(recipe.checkpoint, data.classes, device=device, seed=recipe.seed)
        freeze(classifier, recipe.frozen, exceptions=recipe.unfreeze)
        if classifier.vision_model.head is not None:
            classifier.vision_model.head.requires_grad_(False)
        return Trainer(classifier, compute_class_loss, ClassBatches(images), settings, log=log, group=group)
    model = load_model(recipe.checkpoint, device=device)
    freeze(model, recipe.frozen, exceptions=recipe.unfreeze)
    tokenizer = load_tokenizer(recipe.checkpoint, max_length=model.config.text_config.max_position_embeddings)
    compute_loss: Callable[[SiglipModel, Any], torch.Tensor]
    compute_loss = compute_sigmoid_loss if group.size == 1 else compute_ring_loss
    return Trainer(model, compute_loss, PairBatches(images, tokenizer), settings, log=log, group=group)


def load_classifier(folder: Path, classes: tuple[str, ...], *, device: torch.device, seed: int) -> SiglipClassifier:
    """Load a checkpoint's vision tower under a classifier.

    Args:
        folder: A SigLIP checkpoint, or a classifier's, which goes on being trained where its classes are the same.
        classes: Names of the classes, by number.
        device: Where the weights go.
        seed: Of a new classifier's weights.

    Raises:
        CheckpointError: If it can't be read.
    """
    config = replace(read_config(folder), id2label=dict(enumerate(classes)))
    with torch.device("meta"):
        model = SiglipClassifier(config)
    reader = WeightReader(folder)
    is_known = CLASSIFIER_NAMES[0] in reader.tensors and read_config(folder).id2label == config.id2label
    load_part(model, reader, drawn=() if is_known else CLASSIFIER_NAMES)
    if not is_known:
        torch.manual_seed(seed)
        model.init_classifier()
    return model.to(device)
