"""`label add`, `change`, `mark`, `keep` and `status`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.conftest import IMAGES, Terminal


@pytest.fixture
def places(terminal: Terminal) -> Iterator[str]:
    created = terminal.run("label", "create", "places", "sunset", "water", "--replace")
    assert created.returncode == 0, created.stderr
    yield "places"
    assert terminal.run("label", "delete", "places", "--yes").returncode == 0


def status_of(terminal: Terminal, label_set: str) -> dict[str, dict[str, Any]]:
    shown = terminal.run("label", "status", label_set, "--json")
    assert shown.returncode == 0, shown.stderr
    return {row["label"]: row for row in json.loads(shown.stdout)}


def test_labels_are_added_changed_and_removed(terminal: Terminal, places: str) -> None:
    added = terminal.run("label", "add", places, "sea", "--prompt", "a sea", "--prompt", "waves", "--threshold", "0.3")
    assert (added.stdout, added.stderr) == ("Added the label 'sea' to 'places'.\n", "")
    changed = terminal.run("label", "change", places, "sea", "--name", "ocean", "--threshold", "0.4", "--place", "0")
    assert (changed.stdout, changed.stderr) == ("Changed the label 'sea' of 'places'.\n", "")
    assert terminal.run("label", "template", places, "a {label}").stdout == "2 labels have new prompts.\n"
    found = status_of(terminal, places)
    assert list(found) == ["ocean", "sunset", "water"]
    assert (found["ocean"]["prompts"], found["ocean"]["threshold"]) == (["a sea", "waves"], pytest.approx(0.4))
    assert found["water"]["prompts"] == ["a water"]
    assert all(len(row["embedded"]) == 1 for row in found.values())
    assert terminal.run("label", "change", places, "ocean", "--no-prompts").returncode == 0
    assert status_of(terminal, places)["ocean"]["prompts"] == ["a ocean"]
    table = terminal.run("label", "status", places).stdout.splitlines()
    assert table[0].split() == ["label", "set", "label", "prompts", "threshold", "vectors", "kept"]
    assert len(table) == 4
    removed = terminal.run("label", "remove", places, "ocean")
    assert removed.stdout == "Removed the label 'ocean' from 'places'.\n"
    assert list(status_of(terminal, places)) == ["sunset", "water"]


def test_images_are_marked(terminal: Terminal, places: str) -> None:
    found = terminal.run("search", "sunset", "--limit", "3", "--json")
    a, b, c = (str(row["image_id"]) for row in json.loads(found.stdout))
    marked = terminal.run("label", "mark", places, "sunset", "--yes", a, "--yes", b, "--no", c, "--by", "Ada")
    assert (marked.stdout, marked.stderr) == ("3 marks changed.\n", "")
    assert terminal.run("label", "mark", places, "sunset", "--unmark", a).stdout == "1 mark changed.\n"
    refused = terminal.run("label", "mark", places, "sunset")
    assert (refused.returncode, refused.stderr.split(":")[1]) == (1, " Name the images")
    terminal.run("label", "mark", places, "sunset", "--yes", a)
    asked = terminal.run("label", "delete", places)
    assert asked.returncode == 2
    assert "Delete 'places' with" in asked.stderr
    assert places in terminal.run("label", "list").stdout


def test_a_kept_set_is_filled_by_the_worker(terminal: Terminal, places: str) -> None:
    assert terminal.run("label", "change", places, "water", "--threshold", "0").returncode == 0
    assert terminal.run("label", "keep", places).stdout == "The labels of 'places' are kept.\n"
    last = time.monotonic() + 60
    while status_of(terminal, places)["water"]["state"] != "current":
        assert time.monotonic() < last, status_of(terminal, places)
        time.sleep(1)
    counted = terminal.run("psql", "-At", "-c", "SELECT count(*) FROM siglip.labeled_images WHERE label = 'water'")
    if counted.returncode == 0:  # where psql is installed
        assert int(counted.stdout) >= IMAGES
    assert terminal.run("label", "keep", places, "--off").stdout == "The labels of 'places' are no longer kept.\n"
    assert status_of(terminal, places)["water"]["is_kept"] is False
    kept = terminal.run("label", "create", places, "water", "--keep", "--replace")
    assert kept.returncode == 0, kept.stderr
    assert status_of(terminal, places)["water"]["is_kept"] is True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "nothing", "x"), "There is no label set 'nothing'."),
        (("add", "places", "sunset"), "The label set 'places' has a label 'sunset' already."),
        (("change", "places", "sunset"), "There is nothing to change"),
        (("change", "places", "sunset", "--prompt", "x", "--no-prompts"), "Give either --prompt or --no-prompts"),
        (("remove", "places", "x"), "The label set 'places' has no label 'x'."),
        (("rename", "places", " "), "A label set needs a name"),
        (("template", "places", "photo"), "doesn't contain {label}"),
        (("keep", "nothing"), "There is no label set 'nothing'."),
        (("mark", "places", "sunset", "--yes", "999999"), "There is no image 999999."),
        (("status", "nothing"), "There is no label set 'nothing'."),
    ],
)
def test_what_can_t_be_done_is_said(terminal: Terminal, places: str, arguments: tuple[str, ...], message: str) -> None:
    refused = terminal.run("label", *arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")
    assert message in refused.stderr
