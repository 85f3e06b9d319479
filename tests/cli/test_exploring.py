"""`duplicates`, `representatives` and `label find`."""

from __future__ import annotations

import json

from tests.cli.conftest import IMAGES, Terminal


def test_duplicates_are_grouped(terminal: Terminal) -> None:
    found = terminal.run("duplicates", "--min-similarity", "0.5", "--json")
    assert found.returncode == 0, found.stderr
    groups = json.loads(found.stdout)
    assert groups
    assert all(len(group["image_ids"]) > 1 for group in groups)
    table = terminal.run("duplicates", "--min-similarity", "0.5", "--limit", "1")
    assert table.stdout.splitlines()[0].split() == ["images", "similarity", "image_ids"]
    assert len(table.stdout.splitlines()) == 2
    pairs = terminal.run("duplicates", "--pairs", "--min-similarity", "0.5", "--limit", "3")
    assert pairs.stdout.splitlines()[0].split() == ["image_id", "other_image_id", "similarity", "same", "file"]
    assert len(pairs.stdout.splitlines()) == 4


def test_without_duplicates_there_is_a_sentence(terminal: Terminal) -> None:
    found = terminal.run("duplicates", "--collection", "nothing")
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "No duplicates.\n")
    refused = terminal.run("duplicates", "--min-similarity", "2")
    assert refused.returncode == 1
    assert refused.stderr == "Error: min_similarity must be a number from 0.5 to 1, not 2.0.\n"


def test_representatives_stand_for_all_images(terminal: Terminal) -> None:
    chosen = terminal.run("representatives", "--count", "4", "--json")
    assert chosen.returncode == 0, chosen.stderr
    rows = json.loads(chosen.stdout)
    assert len(rows) == 4
    assert sum(row["images"] for row in rows) >= IMAGES
    table = terminal.run("representatives", "--count", "4", "--collection", "holiday")
    assert table.stdout.splitlines()[0].split() == ["image_id", "images", "similarity", "image"]


def test_images_are_found_by_several_labels(terminal: Terminal) -> None:
    created = terminal.run("label", "create", "explored", "sunset", "night sky", "water", "--replace")
    assert created.returncode == 0, created.stderr
    found = terminal.run(
        "label", "find", "explored", "--any", "sunset", "--any", "night sky", "--not", "water", "--json"
    )
    assert found.returncode == 0, found.stderr
    for row in json.loads(found.stdout):
        assert max(row["scores"]["sunset"], row["scores"]["night sky"]) == row["score"] >= 0.5
        assert row["scores"]["water"] < 0.5
    table = terminal.run("label", "find", "explored", "--all", "sunset", "--min-score", "0", "--limit", "2")
    assert table.stdout.splitlines()[0].split() == ["image_id", "score", "sunset", "image"]
    assert len(table.stdout.splitlines()) == 3
    refused = terminal.run("label", "find", "explored", "--not", "water")
    assert refused.returncode == 1
    assert "No label is named that the images have." in refused.stderr
    assert terminal.run("label", "delete", "explored").returncode == 0
