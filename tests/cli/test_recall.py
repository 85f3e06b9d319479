"""`recall`: measured, tuned, remembered and explained."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Terminal


def test_recall_is_measured_and_remembered(terminal: Terminal) -> None:
    assert terminal.run("search", "a red boat").returncode == 0
    measured = terminal.run("recall", "measure", "--sample", "5", "--json")
    assert measured.returncode == 0, measured.stderr
    rows = {row["kind"]: row for row in json.loads(measured.stdout)}
    assert rows.keys() == {"images", "texts"}
    assert rows["texts"]["recall"] == 1.0  # so few images have no index
    history = terminal.run("recall", "history", "--limit", "2")
    assert history.returncode == 0, history.stderr
    assert history.stdout.splitlines()[0].split()[:3] == ["measured_at", "name", "kind"]
    assert len(history.stdout.splitlines()) == 3


def test_without_an_index_there_is_nothing_to_tune(terminal: Terminal) -> None:
    tuned = terminal.run("recall", "tune", "--target", "0.9")
    assert (tuned.returncode, tuned.stdout) == (
        0,
        "There is no index yet: searches are exact, and there is nothing to tune.\n",
    )


def test_a_recall_out_of_range_gets_a_sentence(terminal: Terminal) -> None:
    refused = terminal.run("recall", "tune", "--target", "3")
    assert refused.returncode == 1
    assert refused.stderr == "Error: target_recall must be a number from 0.5 to 1, not 3.0.\n"


@pytest.mark.parametrize(
    ("command", "limit", "largest"),
    [("measure", "0", "1,000"), ("measure", "1001", "1,000"), ("history", "-1", "10,000")],
)
def test_a_limit_out_of_range_gets_a_sentence(terminal: Terminal, command: str, limit: str, largest: str) -> None:
    refused = terminal.run("recall", command, "--limit", limit)
    assert refused.returncode == 1
    assert refused.stderr == f"Error: limit must be a whole number from 1 to {largest}, not {limit}.\n"


def test_settings_are_explained(terminal: Terminal) -> None:
    shown = terminal.run("recall", "settings", "--json")
    assert shown.returncode == 0, shown.stderr
    settings = {row["setting"]: row for row in json.loads(shown.stdout)}
    assert settings["index_kind"]["value"] == "halfvec"
    assert settings["ef_search"]["source"] == "default"
