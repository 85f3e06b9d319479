"""`siglip-ingest train`, as it is typed: alone, under torchrun, killed and resumed, and with mistakes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.cli import main
from siglip_ingest.siglip.checkpoint.loading import load_model
from tests.cli.conftest import Terminal, clean_environment
from tests.programs import wait_until
from tests.unit.siglip.training.sets import png, write_captioned, write_classes, write_shard

QUICK = ("--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu", "--log-every", "1")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Terminal:
    """A folder with data of each kind."""
    folder = tmp_path_factory.mktemp("a desk")
    write_captioned(folder / "captions")
    write_classes(folder / "classes")
    for shard in range(2):
        files = {f"{n}.png": png(n) for n in range(3)} | {f"{n}.txt": b"a boat" for n in range(3)}
        write_shard(folder / "shards" / f"set-{shard}.tar", files)
    (folder / "empty").mkdir()
    (folder / "checkpoint").symlink_to(tiny_checkpoint)
    environment = clean_environment(folder / "home")
    return Terminal(folder, environment)


def start(desk: Terminal, *arguments: str, stderr: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    command = [Path(sys.executable).with_name("siglip-ingest"), "train", *arguments]
    return subprocess.Popen(command, cwd=desk.folder, env=desk.environment, stdout=subprocess.DEVNULL, stderr=stderr)


def read_log(folder: Path) -> list[dict[str, Any]]:
    path = folder / "train_log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.faults
def test_a_killed_run_goes_on_to_the_losses_of_one_that_was_not(desk: Terminal) -> None:
    arguments = ["captions", "--from", "checkpoint", *QUICK, "--steps", "200", "--save-every", "3", "--seed", "5"]
    whole = desk.run("train", *arguments, "--to", "whole", "--json")
    assert whole.returncode == 0, whole.stderr
    result = json.loads(whole.stdout)
    assert (result["steps"], result["images"], result["unusable"]) == (200, 12, [])
    assert "step 200/200  loss " in whole.stderr

    for _ in range(5):  # on a busy machine it may be through before we look
        process = start(desk, *arguments, "--to", "killed")
        try:
            wait_until(lambda: len(read_log(desk.folder / "killed")) > 20, timeout_s=60)
        finally:
            process.kill()
            process.wait()
        if len(read_log(desk.folder / "killed")) < 200:
            break
        shutil.rmtree(desk.folder / "killed")
    else:
        pytest.fail("It was never killed in time.")
    load_model(desk.folder / "killed")  # whole, whenever it was killed
    resumed = desk.run("train", *arguments, "--to", "killed", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "Going on from step " in resumed.stderr
    expected, found = (
        [(line["step"], line["loss"]) for line in read_log(desk.folder / name)] for name in ("whole", "killed")
    )
    assert found == expected
    files = {path.name for path in (desk.folder / "whole").iterdir()}
    assert {path.name for path in (desk.folder / "killed").iterdir()} == files
    weights = [(desk.folder / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_under_torchrun_have_the_losses_of_one(desk: Terminal, parallel: str) -> None:
    arguments = ["train", "captions", "--from", "checkpoint", *QUICK, "--steps", "4", "--accumulate", "2"]
    alone = desk.run(*arguments, "--to", f"alone beside {parallel}")
    assert alone.returncode == 0, alone.stderr
    programs = Path(sys.executable).parent
    together = subprocess.run(
        [
            *(programs / "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python"),
            *(programs / "siglip-ingest", *arguments, "--to", parallel, "--parallel", parallel, "--json"),
        ],
        cwd=desk.folder,
        env=desk.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert together.returncode == 0, together.stderr
    assert json.loads(together.stdout)["steps"] == 4  # one of them talks
    losses = [
        [line["loss"] for line in read_log(desk.folder / name)] for name in (f"alone beside {parallel}", parallel)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    load_model(desk.folder / parallel)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_interrupted_saves_its_step(desk: Terminal, number: signal.Signals, status: int) -> None:
    target = f"interrupted by {number.name}"
    arguments = ["captions", "--from", "checkpoint", *QUICK, "--steps", "100000", "--save-every", "100000"]
    process = start(desk, *arguments, "--to", target, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: len(read_log(desk.folder / target)) > 2, timeout_s=60)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    step = len(read_log(desk.folder / target))
    assert process.returncode == status
    assert said.decode().splitlines()[-1] == f"Interrupted at step {step} of 100000. Go on with --resume."
    assert (desk.folder / target / "train_state.safetensors").exists()
    load_model(desk.folder / target)


@pytest.mark.slow
def test_a_mistake_of_all_processes_is_said_once_and_leaves_the_folder_free(desk: Terminal) -> None:
    programs = Path(sys.executable).parent
    arguments = ["train", "captions", "--from", "checkpoint", *QUICK, "--steps", "1", "--to", "mistaken"]
    torchrun = [programs / "torchrun", "--standalone", "--nproc-per-node", "2", "--no-python"]
    failed = subprocess.run(
        [*torchrun, programs / "siglip-ingest", *arguments, "--freeze", "visual"],
        cwd=desk.folder,
        env=desk.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert failed.returncode != 0
    assert failed.stderr.count("Error: No part of the model is called 'visual'") == 1, failed.stderr
    again = desk.run(*arguments)
    assert again.returncode == 0, again.stderr


def run_here(desk: Terminal, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process, which has imported everything already."""
    monkeypatch.chdir(desk.folder)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["siglip-ingest", "train", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("data", ["shards", "shards/set-{0..1}.tar", "captions/captions.jsonl"])
def test_shards_and_files_of_captions_are_data_too(
    desk: Terminal, data: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = str(tmp_path / "the checkpoint")
    status = run_here(desk, monkeypatch, data, "--from", "checkpoint", "--to", target, *QUICK, "--freeze", "vision")
    output = capsys.readouterr()
    assert status == 0, output.err
    assert f"{target}: " in output.out
    assert f"models use '{target}'" in output.out


def test_a_classifier_is_trained_on_folders(
    desk: Terminal, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["classes", "--from", "checkpoint", "--to", str(tmp_path / "out"), "--task", "classify"]
    assert run_here(desk, monkeypatch, *arguments, "--batch-size", "4", "--device", "cpu") == 0
    output = capsys.readouterr()
    assert "12 images of 2 classes, 3 steps." in output.err
    assert "AutoModelForImageClassification" in output.out


MISTAKES = {
    "data that aren't there": (["nowhere"], 1, "nowhere. DATA is a folder with captions"),
    "a folder without captions": (["empty"], 1, "has no captions"),
    "a batch larger than the data": (["captions", "--batch-size", "64"], 1, "larger than the data, 12 images"),
    "a part that isn't there": (["captions", "--freeze", "visual"], 1, "'visual'"),
    "everything frozen": (["captions", "--freeze", "vision,text,constants"], 1, "Nothing is left to train"),
    "a checkpoint that isn't there": (["captions", "--from", "no such"], 1, "no such"),
    "steps and epochs": (["captions", "--steps", "3", "--epochs", "1"], 2, "not both"),
    "too few patches": (["captions", "--max-num-patches", "1"], 2, "16<=x<=1024"),
    "no steps": (["captions", "--steps", "0"], 2, "--steps"),
    "a folder that is taken": (["captions", "--to", "classes"], 1, "not an empty folder"),
    "captions for a classifier": (["captions", "--task", "classify"], 1, "one folder for each class"),
    "a device that isn't there": (["captions", "--device", "gpu"], 1, "There is no device 'gpu'"),
}


@pytest.mark.parametrize(("arguments", "status", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_a_sentence_and_its_exit_status(
    desk: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    status: int,
    words: str,
) -> None:
    given = ["--from", "checkpoint", "--to", str(tmp_path / "out"), "--batch-size", "4", *arguments]
    assert run_here(desk, monkeypatch, *given) == status
    output = capsys.readouterr()
    assert words in output.err
    assert "Traceback" not in output.err
    assert output.out == ""
