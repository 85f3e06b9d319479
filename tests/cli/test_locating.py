"""`siglip-ingest locate`, which asks the running worker."""

from __future__ import annotations

import json

from PIL import Image

from tests.cli.conftest import Terminal


def test_a_text_is_located_and_drawn(terminal: Terminal) -> None:
    photo = sorted((terminal.folder / "photos").iterdir())[0]
    shown = terminal.run("locate", str(photo), "water")
    assert (shown.returncode, shown.stderr) == (0, "")
    first, *lines = shown.stdout.splitlines()
    assert first.startswith("Strongest at ")
    assert " from the left and " in first
    assert len(lines) == 10  # eight rows in a frame
    assert len({len(line) for line in lines}) == 1
    assert any("@" in line for line in lines)
    found = terminal.run("locate", str(photo), "water", "--output", "map.png", "--json")
    assert (found.returncode, found.stderr) == (0, "Wrote map.png\n")
    answer = json.loads(found.stdout)
    assert (answer["rows"], answer["columns"], len(answer["values"])) == (8, 8, 8)
    assert set(answer["peak"]) == {"x", "y"}
    with Image.open(terminal.folder / "map.png") as drawn, Image.open(photo) as original:
        assert drawn.size == original.size


def test_an_indexed_image_is_located_by_its_id(terminal: Terminal) -> None:
    (match,) = json.loads(terminal.run("search", "sunset", "--limit", "1", "--json").stdout)
    found = terminal.run("locate", str(match["image_id"]), "sunset", "--json")
    assert found.returncode == 0, found.stderr
    assert abs(json.loads(found.stdout)["similarity"] - match["similarity"]) < 0.01


def test_what_can_not_be_done_is_said_in_a_sentence(terminal: Terminal) -> None:
    missing = terminal.run("locate", "9999999", "sunset")
    assert (missing.returncode, missing.stderr) == (1, "Error: There is no image 9999999.\n")
    photo = sorted((terminal.folder / "photos").iterdir())[0]
    odd = terminal.run("locate", str(photo), "sunset", "--output", "map.abc")
    assert odd.returncode == 1
    assert odd.stderr.startswith("Error: 'map.abc' can't be written (unknown file extension: .abc)")
