from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from siglip_ingest.siglip.training import Batch, StepLog, Trainer, TrainingSettings, compute_sigmoid_loss
from tests.checkpoints import tiny_config


def make_model(hidden: int = 32) -> SiglipModel:
    torch.manual_seed(0)
    model = SiglipModel(SiglipConfig.from_dict(tiny_config(image_size=16, hidden=hidden)))
    model.init_weights()
    return model


def make_batch(number: int) -> Batch:
    """Eight images, each with a text of its own that is the same in every batch."""
    generator = torch.Generator().manual_seed(number)
    kinds = torch.randperm(8, generator=generator)
    noise = 0.1 * torch.randn(8, 3, 16, 16, generator=generator)
    pixel_values = torch.linspace(-1, 1, 8)[kinds].reshape(8, 1, 1, 1) + noise
    input_ids = torch.ones(8, 16, dtype=torch.int64)
    input_ids[:, 0] = 10 + kinds
    return Batch(pixel_values, input_ids)


def make_trainer(settings: TrainingSettings, lines: list[StepLog] | None = None) -> Trainer[SiglipModel, Batch]:
    return Trainer(
        make_model(), compute_sigmoid_loss, make_batch, settings, log=(lines if lines is not None else []).append
    )


SETTINGS = TrainingSettings(steps=8, warmup_steps=2, log_interval=3)


def test_training_lowers_the_loss() -> None:
    settings = TrainingSettings(steps=60, learning_rate=3e-3, warmup_steps=5, logit_factor=10.0, is_autocast=False)
    losses = make_trainer(settings).run()
    assert len(losses) == 60
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_a_resumed_run_has_the_losses_of_one_that_never_stopped(tmp_path: Path) -> None:
    whole = make_trainer(SETTINGS).run()
    first = make_trainer(SETTINGS)
    losses = first.run(until=5)
    first.save_state(tmp_path / "state.safetensors")
    second = make_trainer(SETTINGS)
    second.load_state(tmp_path / "state.safetensors")
    assert losses + second.run() == whole


def test_a_line_is_logged_every_interval_and_at_the_end() -> None:
    lines: list[StepLog] = []
    losses = make_trainer(SETTINGS, lines).run()
    assert [line.step for line in lines] == [3, 6, 8]
    assert lines[-1].loss == pytest.approx(sum(losses[6:]) / 2)
    assert str(lines[0]).startswith("step 3  loss ")


def test_accumulated_batches_make_one_step() -> None:
    steps = TrainingSettings(steps=2, warmup_steps=1, accumulation=3, is_autocast=False)
    numbers: list[int] = []

    def count(number: int) -> Batch:
        numbers.append(number)
        return make_batch(number)

    losses = Trainer(make_model(), compute_sigmoid_loss, count, steps, log=[].append).run()
    single = TrainingSettings(steps=1, is_autocast=False)
    alone = [
        Trainer(make_model(), compute_sigmoid_loss, lambda _, n=n: make_batch(n), single, log=[].append).run()[0]
        for n in range(3)
    ]
    assert numbers == list(range(6))
    assert losses[0] == pytest.approx(sum(alone) / 3, rel=1e-6)


def test_a_state_of_another_model_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(SETTINGS)
    trainer.save_state(tmp_path / "state.safetensors")
    other = Trainer(make_model(hidden=48), compute_sigmoid_loss, make_batch, SETTINGS, log=[].append)
    with pytest.raises(CheckpointError, match="no training state of this model"):
        other.load_state(tmp_path / "state.safetensors")


def test_a_cut_off_state_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(SETTINGS)
    trainer.save_state(tmp_path / "state.safetensors")
    content = (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="no training state of this model"):
        trainer.load_state(tmp_path / "state.safetensors")
