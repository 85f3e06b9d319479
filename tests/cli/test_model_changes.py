"""`models add`, `coverage`, `compare`, `switch` and `drop`, as they are typed, with the embedded services."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.siglip.checkpoint.names import DEMO_FOLDER
from tests.cli.conftest import IMAGES, Terminal, opened_terminal
from tests.programs import wait_until


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    """Of these tests alone: images that others leave, some of which fail, would be every model's."""
    with opened_terminal(tmp_path_factory.mktemp("models")) as opened:
        yield opened


@pytest.fixture
def other(terminal: Terminal, tmp_path: Path) -> Iterator[str]:
    """The demo checkpoint under another name."""
    folder = shutil.copytree(DEMO_FOLDER, tmp_path / "other")
    yield str(folder)
    terminal.run("models", "switch", "demo", "--force")
    terminal.run("models", "drop", str(folder), "--yes")


def coverage(terminal: Terminal) -> dict[str, dict[str, Any]]:
    done = terminal.run("models", "coverage", "--json")
    assert done.returncode == 0, done.stderr
    return {row["model"]: row for row in json.loads(done.stdout)}


def test_a_model_is_changed_step_by_step(terminal: Terminal, other: str) -> None:
    environment = {"SIGLIP_MODEL": ""}
    added = terminal.run("models", "add", other, **environment)
    assert added.returncode == 0, added.stderr
    assert f"{other!r} is kept beside the active model" in added.stdout
    wait_until(lambda: coverage(terminal)[other]["share"] == 1, timeout_s=120)
    assert coverage(terminal)["demo"]["state"] == "active"
    table = terminal.run("models", "coverage")
    assert f"{IMAGES} of {IMAGES}" in table.stdout
    by_collection = terminal.run("models", "coverage", "--collections")
    assert "holiday" in by_collection.stdout

    assert terminal.run("search", "a red circle", **environment).returncode == 0
    compared = terminal.run("models", "compare", "demo", other, "--json")
    assert compared.returncode == 0, compared.stderr
    rows = {row["measure"]: row for row in json.loads(compared.stdout)}
    assert rows["images embedded"]["value_b"] == IMAGES
    assert rows["overlap@10 of queries"]["value_a"] == 1  # they are the same
    assert "overlap@10" in terminal.run("models", "compare", "demo", other).stdout

    switched = terminal.run("models", "switch", other)
    assert switched.returncode == 0, switched.stderr
    assert switched.stdout == f"The active model is {other!r}.\n"
    assert terminal.run("search", "a red circle", **environment).returncode == 0
    refused = terminal.run("models", "drop", other, "--yes")
    assert refused.returncode == 1
    assert "is the active one. Switch to another one first" in refused.stderr
    assert terminal.run("models", "switch", "demo").returncode == 0
    dropped = terminal.run("models", "drop", other, "--yes")
    assert dropped.returncode == 0, dropped.stderr
    assert f"The model {other} is gone" in dropped.stdout
    assert set(coverage(terminal)) == {"demo"}
    assert terminal.run("search", "a red circle").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("add", "no such"), "names no checkpoint", id="add"),
        pytest.param(("switch", "nobody/this"), "There is no model 'nobody/this'", id="switch"),
        pytest.param(("drop", "nobody/this", "--yes"), "There is no model 'nobody/this'", id="drop"),
        pytest.param(("compare", "demo", "demo"), "compared with itself", id="compare"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_sentence(terminal: Terminal, arguments: tuple[str, ...], words: str) -> None:
    done = terminal.run("models", *arguments)
    assert done.returncode == 1
    assert words in done.stderr
