"""`maintain`: the steps that segments need, and their state."""

from __future__ import annotations

import json

from tests.cli.conftest import IMAGES, Terminal


def test_segments_are_listed_where_there_is_nothing_to_do(terminal: Terminal) -> None:
    done = terminal.run("maintain")
    assert done.returncode == 0, done.stderr
    said, headings, row = done.stdout.splitlines()
    assert said == "There is nothing to do."
    assert headings.split() == ["segment", "contents", "rows", "vectors", "index", "state"]
    assert row.split()[-1] == "open"
    shown = terminal.run("maintain", "--status", "--json")
    (segment,) = json.loads(shown.stdout)["segments"]
    assert (segment["from_content_id"], segment["to_content_id"], segment["state"]) == (None, None, "open")


def test_full_leaves_one_segment_that_is_sealed(terminal: Terminal) -> None:
    done = terminal.run("maintain", "--full", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert any(f"{IMAGES} rows" in step for step in answer["steps"])
    sealed, opened = answer["segments"]
    assert (sealed["state"], sealed["rows"]) == ("sealed without index", IMAGES)
    assert (opened["state"], opened["rows"]) == ("open", 0)
    again = terminal.run("maintain", "--full", "--json")
    assert json.loads(again.stdout) == {"steps": [], "segments": answer["segments"]}


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
