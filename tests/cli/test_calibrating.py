"""`label calibrate`, `example`, `suggest`, `explain`, `calibrations` and `use`."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Terminal


@pytest.fixture(scope="module")
def label_set(terminal: Terminal) -> str:
    created = terminal.run("label", "create", "fitted", "sunset", "snow")
    assert created.returncode == 0, created.stderr
    return "fitted"


def _read(terminal: Terminal, *arguments: str) -> dict[str, object]:
    done = terminal.run("label", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    read: dict[str, object] = json.loads(done.stdout)
    return read


def test_a_label_is_fitted_listed_and_goes_back(terminal: Terminal, label_set: str) -> None:
    done = terminal.run("label", "calibrate", label_set, "sunset", "--yes", "1,2", "--no", "3 4")
    assert done.returncode == 0, done.stderr
    assert "Calibration 1: 4 marks: the model's own scores still count most." in done.stdout
    fit = _read(terminal, "calibrate", label_set, "sunset", "--min-precision", "0.95")
    assert (fit["version"], fit["positives"], fit["guaranteed_precision"]) == (2, 2, None)
    used = terminal.run("label", "use", label_set, "sunset", "0")
    assert "decides by the model's own scores" in used.stdout
    listed = terminal.run("label", "calibrations", label_set, "sunset").stdout
    assert "Not enough marks yet" in listed
    assert "yes" not in listed


def test_images_are_suggested_and_explained(terminal: Terminal, label_set: str) -> None:
    listed = terminal.run("label", "suggest", label_set, "snow", "--limit", "3")
    assert listed.returncode == 0, listed.stderr
    assert "uncertain" in listed.stdout
    why = terminal.run("label", "explain", "5", label_set, "snow")
    assert why.returncode == 0, why.stderr
    assert "ccepted: the score" in why.stdout
    assert "of the other images" in why.stdout
    assert _read(terminal, "explain", "5", label_set, "snow")["label_count"] == 2


def test_a_label_is_made_from_images(terminal: Terminal) -> None:
    fit = _read(terminal, "example", "by example", "like these", "--yes", "1,2,3")
    assert (fit["version"], fit["positives"]) == (1, 3)


def test_ids_that_are_none_are_refused(terminal: Terminal, label_set: str) -> None:
    refused = terminal.run("label", "calibrate", label_set, "sunset", "--yes", "one")
    assert refused.returncode == 1
    assert "'one' isn't a list of image ids" in refused.stderr
