"""`models list` and `models pull`, as they are typed. What the hub may answer is in tests/unit/siglip/checkpoint/."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from siglip_ingest.cli.checkpoint_table import format_bytes
from siglip_ingest.siglip.checkpoint.family import FAMILY
from tests.cli.conftest import Terminal, clean_environment
from tests.unit.siglip.checkpoint.hub_server import COMMIT, OLDER_COMMIT, Hub, serve

NAME = "google/siglip-base-patch16-224"  # a tiny one stands in for it


@pytest.fixture
def hub(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "hub" / "tiny")
    with serve(Hub(repositories={NAME: folder, "someone/tiny": folder})) as running:
        yield running


@pytest.fixture
def shell(hub: Hub, tmp_path: Path) -> Terminal:
    """A terminal with an empty cache, no services, and our hub."""
    inherited = {name: value for name, value in clean_environment(tmp_path / "home").items() if "HF_" not in name}
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1,localhost"}
    return Terminal(tmp_path, inherited | environment)


def rows_by_name(shell: Terminal) -> dict[str, dict[str, object]]:
    done = shell.run("models", "list", "--json")
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["checkpoints"]}


def test_list_shows_the_whole_family_in_100_columns_and_starts_nothing(shell: Terminal, hub: Hub) -> None:
    done = shell.run("models", "list")
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()
    assert header.split() == ["checkpoint", "dim", "pixels", "params", "float32", "bfloat16", "GFLOP", "here"]
    assert [line.split()[0] for line in lines[: len(FAMILY)]] == [checkpoint.name for checkpoint in FAMILY]
    assert max(map(len, done.stdout.splitlines())) <= 100
    by_name = {line.split()[0]: line.split() for line in lines[: len(FAMILY) + 1]}
    assert " ".join(by_name["google/siglip2-base-patch16-224"][1:]) == "768 224 375 M 1.50 GB 750 MB 35.4"
    assert by_name["google/siglip2-so400m-patch16-naflex"][2] == "NaFlex"
    assert by_name["demo"][-1] == "yes"
    assert "siglip-ingest up" in done.stderr
    assert not (shell.folder / "home").exists()
    assert not hub.requested


def test_list_prints_every_figure_as_json(shell: Terminal) -> None:
    row = rows_by_name(shell)["google/siglip-base-patch16-256"]
    assert row["parameters"] == 203_202_050
    assert row["float32_bytes"] == 4 * 203_202_050
    assert row["bfloat16_bytes"] == 2 * 203_202_050
    assert (row["dimension"], row["image_size"], row["num_patches"], row["max_text_length"]) == (768, 256, 256, 64)
    assert (row["is_here"], row["revision"], row["disk_bytes"]) == (False, None, 0)


def test_list_goes_on_where_the_database_does_not_answer(shell: Terminal) -> None:
    done = shell.run("models", "list", "--json", SIGLIP_DATABASE_URL="postgresql://127.0.0.1:9/nowhere")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["database"] is None
    assert "can't be listed" in done.stderr


def test_pull_says_what_the_name_is_pinned_to_and_list_that_it_is_here(shell: Terminal) -> None:
    done = shell.run("models", "pull", NAME)
    assert done.returncode == 0, done.stderr
    said, folder = done.stdout.splitlines()
    assert said == f"{NAME} is pinned to {COMMIT}: 466 kB."
    assert Path(folder).name == COMMIT
    assert Path(folder).is_relative_to(shell.folder / "hf")
    row = rows_by_name(shell)[NAME]
    assert (row["is_here"], row["revision"], row["disk_bytes"] > 400_000) == (True, COMMIT, True)
    (line,) = (line for line in shell.run("models", "list").stdout.splitlines() if line.startswith(f"{NAME} "))
    assert line.endswith("yes")


def test_list_knows_other_checkpoints_that_were_pulled(shell: Terminal) -> None:
    assert shell.run("models", "pull", "someone/tiny").returncode == 0
    row = rows_by_name(shell)["someone/tiny"]
    assert (row["dimension"], row["image_size"], row["is_here"]) == (32, 32, True)


def test_pull_of_a_revision_prints_json_and_pins_the_plain_name(shell: Terminal, hub: Hub) -> None:
    hub.revisions[f"{NAME}@v1"] = (OLDER_COMMIT, hub.repositories[NAME])
    done = shell.run("models", "pull", NAME, "--revision", "v1", "--json")
    assert done.returncode == 0, done.stderr
    pulled = json.loads(done.stdout)
    assert (pulled["name"], pulled["revision"]) == (NAME, OLDER_COMMIT)
    assert pulled["size_bytes"] > 400_000
    assert rows_by_name(shell)[NAME]["revision"] == OLDER_COMMIT
    beside = json.loads(shell.run("models", "pull", f"{NAME}@main", "--json").stdout)
    assert beside["revision"] == COMMIT
    assert rows_by_name(shell)[NAME]["revision"] == OLDER_COMMIT


@pytest.mark.parametrize(
    ("arguments", "status", "word"),
    [
        pytest.param(["google/siglip-base-patch16-242"], 1, "Did you mean google/siglip-base-patch16-224", id="name"),
        pytest.param([NAME, "--revision", "v9"], 1, "no revision 'v9'", id="revision"),
        pytest.param([NAME, "--revision", "../x"], 1, "names no checkpoint", id="no_revision_at_all"),
        pytest.param([f"{NAME}@v1", "--revision", "v2"], 1, "another one", id="two_revisions"),
        pytest.param([], 2, "NAME", id="nothing"),
    ],
)
def test_a_pull_of_nothing_gets_a_sentence(shell: Terminal, arguments: list[str], status: int, word: str) -> None:
    done = shell.run("models", "pull", *arguments)
    assert done.returncode == status
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_pull_needs_nothing_of_what_is_on_this_disk(shell: Terminal, tiny_checkpoint: Path, hub: Hub) -> None:
    for name in ("demo", str(tiny_checkpoint)):
        done = shell.run("models", "pull", name)
        assert done.returncode == 0
        assert "nothing to download" in done.stderr
    assert json.loads(shell.run("models", "pull", "demo", "--json").stdout)["revision"] is None
    assert not hub.requested


def test_pull_draws_a_bar_on_a_terminal(shell: Terminal) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [Path(sys.executable).with_name("siglip-ingest"), "models", "pull", NAME]
    done = subprocess.run(command, env=shell.environment, stdout=subprocess.PIPE, stderr=theirs, timeout=60, check=True)
    os.close(theirs)
    drawn = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert "6/6" in drawn  # files
    assert done.stdout.decode().startswith(NAME)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (465_909, "466 kB"),
        (999_499, "999 kB"),
        (999_600, "1.00 MB"),
        (12_345_678, "12.3 MB"),
        (1_500_800_904, "1.50 GB"),
        (7 * 10**15, "7000 TB"),
    ],
)
def test_a_number_of_bytes_is_said_in_the_unit_that_fits(count: int, text: str) -> None:
    assert format_bytes(count) == text
