"""`maintain`: the steps that segments need, and their state."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.conftest import IMAGES, Terminal


def segments_of_demo(terminal: Terminal, *arguments: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The steps that were done, and the segments; other tests may have brought other models and images."""
    done = terminal.run("maintain", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["steps"], [segment for segment in answer["segments"] if segment["model"] == "demo"]


def test_segments_are_listed_where_there_is_nothing_to_do(terminal: Terminal) -> None:
    terminal.run("maintain")
    done = terminal.run("maintain")
    assert done.returncode == 0, done.stderr
    said, headings, *rows = done.stdout.splitlines()
    assert said == "There is nothing to do."
    assert headings.split() == ["segment", "contents", "rows", "vectors", "index", "state"]
    assert "open" in {row.split()[-1] for row in rows}
    assert segments_of_demo(terminal, "--status")[0] == []


def test_full_leaves_one_segment_that_is_sealed(terminal: Terminal) -> None:
    steps, (sealed, opened) = segments_of_demo(terminal, "--full")
    assert any("of demo" in step for step in steps)
    assert sealed["state"] == "sealed without index"
    assert sealed["rows"] >= IMAGES
    assert (opened["state"], opened["rows"]) == ("open", 0)
    assert segments_of_demo(terminal, "--full") == ([], [sealed, opened])


def test_a_kind_of_index_is_chosen_for_the_segments_to_come(terminal: Terminal) -> None:
    chosen = terminal.run("maintain", "--kind", "bit_rerank")
    assert chosen.returncode == 0, chosen.stderr
    assert chosen.stdout.splitlines()[0] == "The indexes of demo are of the kind bit_rerank."
    back = terminal.run("maintain", "--kind", "halfvec")
    assert back.stdout.splitlines()[0] == "The indexes of demo are of the kind halfvec."


def test_what_does_not_go_together_gets_a_sentence(terminal: Terminal) -> None:
    refused = terminal.run("maintain", "--kind", "halfvec", "--status")
    assert refused.returncode == 2
    assert "--status only shows the segments" in refused.stderr
    assert terminal.run("maintain", "--kind", "flat").returncode == 2
