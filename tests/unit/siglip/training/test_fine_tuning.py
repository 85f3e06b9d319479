from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.training import Trainer
from siglip_ingest.siglip.training.fine_tuning import Listeners, fine_tune, load_classifier
from siglip_ingest.siglip.training.recipe import Recipe
from tests.checkpoints import write_tiny_checkpoint
from tests.unit.siglip.training.sets import png, write_captioned, write_classes

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("data") / "captions")


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("data") / "classes")


def make_recipe(data: Path, checkpoint: Path, **changes: Any) -> Recipe:
    values = {"batch_size": 4, "steps": 6, "learning_rate": 1e-3, "warmup_steps": 1}
    return Recipe(data=str(data), checkpoint=checkpoint, **(values | changes))


def read_losses(folder: Path) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(folder).state_dict()


def test_a_run_writes_a_checkpoint_a_log_and_what_came_of_it(
    captions: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    listeners = Listeners(log=lambda line, steps: lines.append(f"{line.step} of {steps}"), say=lines.append)
    target = tmp_path / "out"
    recipe = make_recipe(captions, tiny_checkpoint)
    result = fine_tune(recipe, target, device=CPU, log_interval=4, save_interval=5, listeners=listeners)
    assert lines == ["12 images, 6 steps.", "4 of 6", "6 of 6"]
    assert (result["steps"], result["images"], result["unusable"]) == (6, 12, [])
    assert result["loss"] == read_losses(target)[-1][1]
    assert json.loads((target / "train.json").read_text())["result"] == result
    assert sorted(path.name for path in target.iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer_config.json",
        "train.json",
        "train_log.jsonl",
    ]
    before, after = load_weights(tiny_checkpoint), load_weights(target)
    assert all(not torch.equal(before[name], after[name]) for name in before)


def test_training_goes_on_to_lower_losses(captions: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    # The tokenizer, and with it how hard the captions are, depends on sentencepiece's version: 150 steps do for all.
    recipe = make_recipe(captions, tiny_checkpoint, steps=None, epochs=150, batch_size=12)
    fine_tune(recipe, tmp_path / "out", device=CPU, log_interval=50)
    losses = [loss for _, loss in read_losses(tmp_path / "out")]
    assert len(losses) == 3
    assert losses[-1] < 0.5 * losses[0]


class StoppedError(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_run_that_was_stopped_goes_on_to_the_same_losses_and_weights(
    captions: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    recipe = make_recipe(captions, tiny_checkpoint, accumulation=accumulation)
    fine_tune(recipe, tmp_path / "whole", device=CPU, log_interval=1, save_interval=2)

    def stop(line: Any, _steps: int) -> None:
        if line.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        fine_tune(recipe, tmp_path / "out", device=CPU, log_interval=1, save_interval=2, listeners=Listeners(log=stop))
    assert len(read_losses(tmp_path / "out")) == 3
    load_model(tmp_path / "out")  # what was saved in the middle is whole
    said: list[str] = []
    listeners = Listeners(say=said.append)
    fine_tune(
        recipe, tmp_path / "out", device=CPU, is_resumed=True, log_interval=1, save_interval=2, listeners=listeners
    )
    assert "Going on from step 2." in said
    assert read_losses(tmp_path / "out") == read_losses(tmp_path / "whole")
    whole, resumed = load_weights(tmp_path / "whole"), load_weights(tmp_path / "out")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_that_was_stopped_before_its_last_checkpoint_writes_it(
    captions: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(captions, tiny_checkpoint, steps=2)
    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "get_weights", _stop)  # after the state of the last step is written
        with pytest.raises(StoppedError):
            fine_tune(recipe, tmp_path / "out", device=CPU)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    result = fine_tune(recipe, tmp_path / "out", device=CPU, is_resumed=True)
    assert result["loss"] == read_losses(tmp_path / "out")[-1][1]
    load_model(tmp_path / "out")
    assert fine_tune(recipe, tmp_path / "out", device=CPU, is_resumed=True) == result  # finished: nothing to do


def _stop(_trainer: Any) -> None:
    raise StoppedError


@pytest.mark.parametrize(
    ("freeze", "unchanged"),
    [
        pytest.param(("vision",), "vision_model.", id="locked-image tuning"),
        pytest.param(("text", "constants"), ("text_model.", "logit_"), id="the image tower alone"),
        pytest.param(("vision.embeddings",), "vision_model.embeddings.", id="a part"),
    ],
)
def test_what_is_frozen_stays_as_it_was(
    captions: Path, tiny_checkpoint: Path, tmp_path: Path, freeze: tuple[str, ...], unchanged: str | tuple[str, ...]
) -> None:
    fine_tune(make_recipe(captions, tiny_checkpoint, freeze=freeze, steps=2), tmp_path / "out", device=CPU)
    before, after = load_weights(tiny_checkpoint), load_weights(tmp_path / "out")
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(unchanged), name


def test_broken_images_are_told_and_counted(tiny_checkpoint: Path, tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "set")
    (folder / "04.png").write_bytes(png(0)[:200])
    (folder / "09.png").unlink()
    said: list[str] = []
    recipe = make_recipe(folder, tiny_checkpoint, batch_size=11, steps=2)
    result = fine_tune(recipe, tmp_path / "out", device=CPU, listeners=Listeners(say=said.append))
    assert result["images"] == 11
    assert [text.partition(": ")[0] for text in result["unusable"]] == [str(folder / "09.png"), "04.png"]
    assert [text for text in said if "can't be used" in text.lower()] == [
        f"Can't be used: {text}" for text in result["unusable"]
    ]


def test_a_naflex_checkpoint_is_trained_on_images_of_every_shape(captions: Path, tmp_path: Path) -> None:
    source = write_tiny_checkpoint(tmp_path / "naflex", is_naflex=True)
    recipe = make_recipe(captions, source, steps=3, max_num_patches=9)
    fine_tune(recipe, tmp_path / "out", device=CPU, log_interval=1)
    before, after = load_weights(source), load_weights(tmp_path / "out")
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())["max_num_patches"] == 9
    assert (tmp_path / "out" / "tokenizer.json").exists()


def test_bfloat16_products_leave_weights_in_float32(captions: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    fine_tune(make_recipe(captions, tiny_checkpoint, steps=2), tmp_path / "float32", device=CPU, log_interval=1)
    recipe = make_recipe(captions, tiny_checkpoint, steps=2, is_autocast=True)
    fine_tune(recipe, tmp_path / "bfloat16", device=CPU, log_interval=1)
    exact, rounded = (read_losses(tmp_path / name) for name in ("float32", "bfloat16"))
    assert rounded != exact
    assert [loss for _, loss in rounded] == pytest.approx([loss for _, loss in exact], rel=0.02)
    assert {tensor.dtype for tensor in load_weights(tmp_path / "bfloat16").values()} == {torch.float32}


def test_a_classifier_learns_its_classes_and_a_trained_one_goes_on(
    classes: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(classes, tiny_checkpoint, task="classify", batch_size=12, steps=30, learning_rate=0.05)
    first = fine_tune(recipe, tmp_path / "first", device=CPU)
    assert first["loss"] < 0.2
    assert json.loads((tmp_path / "first" / "config.json").read_text())["id2label"] == {"0": "dark", "1": "light"}
    assert not (tmp_path / "first" / "spiece.model").exists()
    tower = load_weights(tiny_checkpoint)
    trained = load_classifier(tmp_path / "first", ("dark", "light"), device=CPU, seed=0).state_dict()
    assert all(torch.equal(tower[name], tensor) for name, tensor in trained.items() if not name.startswith("class"))
    recipe = make_recipe(classes, tmp_path / "first", task="classify", batch_size=12, steps=1, freeze=("none",))
    second = fine_tune(recipe, tmp_path / "second", device=CPU)
    assert second["loss"] < 0.2  # it began where the first one ended
    assert load_classifier(tmp_path / "first", ("cat", "dog"), device=CPU, seed=0).classifier.weight.std() < 0.5


MISTAKES = {
    "the checkpoint as the folder to write": ({}, "checkpoint", "the checkpoint to start from"),
    "patches of a model without them": ({"max_num_patches": 9}, "out", "a number of patches can't be chosen"),
    "a part that isn't there": ({"freeze": ("vison",)}, "out", "No part of the model is called 'vison'"),
    "a loss that grows without bounds": ({"learning_rate": 1e30, "steps": 5}, "out", "The loss of step"),
}


@pytest.mark.parametrize(("changes", "target", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_a_sentence(
    captions: Path, tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, Any], target: str, message: str
) -> None:
    source = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, source)
    with pytest.raises(InvalidInputError, match=message):
        fine_tune(make_recipe(captions, source, **changes), tmp_path / target, device=CPU)


def test_a_preprocessor_of_another_model_is_refused(captions: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    source = tmp_path / "checkpoint"
    shutil.copytree(tiny_checkpoint, source)
    (source / "preprocessor_config.json").write_text('{"image_processor_type": "Siglip2ImageProcessor"}')
    with pytest.raises(CheckpointError, match="belong to different models"):
        fine_tune(make_recipe(captions, source), tmp_path / "out", device=CPU)
