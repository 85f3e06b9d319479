"""Pages of lists, their cursors, and folding."""

from __future__ import annotations

import numpy as np
import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.web.results import KEPT_LISTS, Entry, ResultLists, fold_duplicates, read_cursor, write_cursor


def _entries(*image_ids: int) -> list[Entry]:
    return [Entry(image_id) for image_id in image_ids]


def _ids(page: object) -> list[int]:
    return [entry.image_id for entry in page]  # type: ignore[attr-defined]


def test_pages_go_through_the_list_that_the_first_page_saw() -> None:
    lists = ResultLists()
    page, cursor, total = lists.page(None, 2, lambda: _entries(1, 2, 3))
    assert (_ids(page), total) == ([1, 2], 3)
    page, cursor, _ = lists.page(cursor, 2, lambda: _entries(9, 1, 2, 3))
    assert (_ids(page), cursor) == ([3], None)


def test_a_forgotten_list_goes_on_behind_the_last_image() -> None:
    lists = ResultLists()
    _, cursor, _ = lists.page(None, 2, lambda: _entries(1, 2, 3))
    for _ in range(KEPT_LISTS):
        lists.add([])
    page, _, _ = lists.page(cursor, 2, lambda: _entries(9, 1, 2, 3))
    assert _ids(page) == [3]
    for _ in range(KEPT_LISTS):
        lists.add([])
    page, _, _ = lists.page(cursor, 2, lambda: _entries(1, 4, 5))
    assert _ids(page) == [5], "the last image is gone: the place counts"


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "====", "AAAA", write_cursor("s", 0.5, 1), write_cursor("l", "a", 1), write_cursor("l", 1, 2, 3)],
)
def test_a_cursor_that_is_not_ours_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInputError, match="next_cursor"):
        read_cursor(cursor, "l", str, int, int)


def test_a_cursor_keeps_every_digit() -> None:
    assert read_cursor(write_cursor("s", 0.1 + 0.2, 2**62), "s", float, int) == [0.1 + 0.2, 2**62]


def test_duplicates_are_folded_below_the_first() -> None:
    vectors = np.eye(4, dtype=np.float32)[[0, 1, 0, 1, 2]]
    found = fold_duplicates(_entries(5, 6, 7, 8, 9, 10), [5, 6, 7, 8, 9], vectors, 0.95)
    assert [(entry.image_id, entry.duplicates) for entry in found] == [(5, (7,)), (6, (8,)), (9, ()), (10, ())]


def test_what_is_only_like_a_folded_image_is_not_folded() -> None:
    angles = np.radians([0, 15, 30])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = fold_duplicates(_entries(1, 2, 3), [1, 2, 3], vectors, 0.95)
    assert [(entry.image_id, entry.duplicates) for entry in found] == [(1, (2,)), (3, ())]
