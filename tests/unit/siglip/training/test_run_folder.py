from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.training.run_folder import RunFolder

RECIPE = {"seed": 0, "freeze": ("none",)}


def test_a_run_goes_on_only_as_it_was_started(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(RECIPE, is_resumed=True)  # nothing to go on with: it begins
    folder.state.touch()
    folder.begin(RECIPE, is_resumed=True)
    with pytest.raises(InvalidInputError, match="started with seed 0, not 1"):
        folder.begin(RECIPE | {"seed": 1}, is_resumed=True)


def test_a_folder_that_is_taken_is_refused(tmp_path: Path) -> None:
    with closing(RunFolder(tmp_path / "run")) as folder:
        folder.begin(RECIPE, is_resumed=False)
        folder.state.touch()
    with pytest.raises(InvalidInputError, match=r"holds a training run: add --resume"):
        RunFolder(tmp_path / "run").begin(RECIPE, is_resumed=False)
    for is_resumed in (False, True):
        with pytest.raises(InvalidInputError, match="is not an empty folder"):
            RunFolder(tmp_path).begin(RECIPE, is_resumed=is_resumed)
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match="is not an empty folder"):
        RunFolder(tmp_path / "file").begin(RECIPE, is_resumed=False)
    with pytest.raises(InvalidInputError, match="can't be written"):
        RunFolder(tmp_path / "file" / "below").begin(RECIPE, is_resumed=False)


def test_lines_of_steps_that_come_again_are_cut_off_and_a_broken_one_too(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.cut_log(0)
    for step in (5, 10, 15):
        folder.append_log({"step": step, "loss": step / 10})
    assert folder.find_last_loss() == 1.5
    path = tmp_path / "train_log.jsonl"
    folder.cut_log(12)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 10]
    with path.open("a") as file:
        file.write('{"step": 11, "lo')
    folder.cut_log(12)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [5, 10]


def test_the_result_is_kept_and_the_state_removed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.begin(RECIPE, is_resumed=False)
    assert folder.find_result() is None
    folder.state.touch()
    folder.finish({"steps": 3})
    assert folder.find_result() == {"steps": 3}
    assert [path.name for path in folder.path.iterdir()] == ["train.json"]


def test_the_preprocessor_says_how_many_patches_were_trained_with(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "preprocessor_config.json").write_text('{"max_num_patches": 256, "patch_size": 16}')
    (source / "tokenizer.json").write_text("{}")
    (source / "README.md").write_text("about the source")
    folder = RunFolder(tmp_path / "run")
    folder.begin(RECIPE, is_resumed=False)
    folder.copy_processor(source, has_text=True, max_num_patches=1024)
    values = json.loads((folder.path / "preprocessor_config.json").read_text())
    assert values == {"max_num_patches": 1024, "patch_size": 16}
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "preprocessor_config.json",
        "tokenizer.json",
        "train.json",
    ]


def test_a_run_that_saved_nothing_leaves_its_folder_free(tmp_path: Path) -> None:
    for seed, is_resumed in ((0, False), (1, False), (2, True)):
        folder = RunFolder(tmp_path / "run")
        folder.begin({"seed": seed}, is_resumed=is_resumed)
        folder.append_log({"step": 1, "loss": 1.0})
        assert json.loads((folder.path / "train.json").read_text()) == {"recipe": {"seed": seed}}
        folder.close()
    assert len((tmp_path / "run" / "train_log.jsonl").read_text().splitlines()) == 1


def test_what_a_killed_run_had_begun_to_write_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with closing(RunFolder(tmp_path / "run")) as folder:
        folder.begin(RECIPE, is_resumed=False)
        folder.state.touch()
        for name in (".tmpAb12Cd", "train_state.safetensors.partial", "model.safetensors.partial"):
            (folder.path / name).write_bytes(b"half")
        for name in (".tmp", "notes.partial", ".tmp-of-mine"):
            (folder.path / name).touch()
        folder.begin(RECIPE, is_resumed=True)
        assert {path.name for path in folder.path.iterdir()} == {
            *("train.json", "train_state.safetensors", ".tmp", "notes.partial", ".tmp-of-mine")
        }


def test_two_runs_dont_write_one_folder(tmp_path: Path) -> None:
    with closing(RunFolder(tmp_path / "run")) as folder:
        folder.begin(RECIPE, is_resumed=False)
        with pytest.raises(InvalidInputError, match="Another run is writing"):
            RunFolder(tmp_path / "run").begin(RECIPE, is_resumed=True)
    with closing(RunFolder(tmp_path / "run")) as folder:
        folder.begin(RECIPE, is_resumed=True)
