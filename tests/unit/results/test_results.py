"""Results are lists."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from siglip_ingest.results import ImageResults, Results
from siglip_ingest.types import ImageMatch
from tests.unit.results.rows import ROWS, SCORES, matches, results_of


def test_results_are_equal_to_the_list_of_their_rows() -> None:
    results = matches(3)
    assert results == list(results)
    assert isinstance(results, list)
    assert [match.image_id for match in results] == [0, 1, 2]
    assert results + results == list(results) * 2
    assert repr(results) == repr(list(results))


def test_slices_and_copies_stay_results_that_can_show_their_images() -> None:
    for part in (matches(5)[1:3], matches(5)[::2][:2], copy.copy(matches(2))):
        assert type(part) is ImageResults
        assert part._repr_html_().count("data:image/webp;base64,") == 2
    assert type(SCORES[:1]) is Results
    assert matches(5)[-1].image_id == 4


@pytest.mark.parametrize("kind", ROWS)
def test_results_are_pickled_without_their_reader(kind: str) -> None:
    back: ImageResults[Any] = pickle.loads(pickle.dumps(results_of(kind)))
    assert type(back) is ImageResults
    assert (back, back.row_type) == (results_of(kind), type(ROWS[kind][0]))
    assert "no client" in back._repr_html_()
    assert copy.deepcopy(back) == back


def test_nothing_is_read_before_the_images_are_shown() -> None:
    def refuse(*_: Any) -> bytes:
        raise AssertionError("an image was read")

    results = matches(3, refuse)
    assert repr(results) == str(results)
    assert results[:2] == results[:2]
    results.sort(key=lambda match: match.score)
    assert results[0].image_id == 2
    assert isinstance(ImageMatch(1, "", 0, 0), ImageMatch)
