"""The contents in the stream: who waits for whom, and when a content is forgotten."""

from __future__ import annotations

from uuid import uuid4

from siglip_ingest.db.items import ItemRow
from siglip_ingest.errors import ImageError
from siglip_workers.ingest.contents import Contents
from siglip_workers.ingest.work import Embedded, FetchedImage, Work

HASH = b"h" * 32


def _fetched(item_id: int) -> FetchedImage:
    item = ItemRow(item_id, item_id, f"file:///{item_id}.jpg", has_content=False, attempts=1)
    return FetchedImage(Work(item, uuid4()), b"content", HASH)


def test_who_comes_later_waits_for_the_result_of_the_first() -> None:
    contents = Contents()
    first, second, third = map(_fetched, range(3))
    assert contents.add([first, second]) == ([first], [])
    assert contents.add([third]) == ([], [])
    result = Embedded()
    assert [entry.work for entry in contents.end(HASH, result)] == [first.work, second.work, third.work]


def test_who_comes_before_the_result_is_written_gets_it_at_once() -> None:
    contents = Contents()
    contents.add([_fetched(1)])
    result = Embedded()
    contents.end(HASH, result)
    new, finished = contents.add([_fetched(2)])
    assert new == []
    assert [entry.result for entry in finished] == [result]


def test_a_content_that_is_in_the_stream_once_more_is_not_forgotten_with_the_result_of_before() -> None:
    """Its first result is written in two transactions, and it comes again between them."""
    contents = Contents()
    contents.add([_fetched(1)])
    written_first = contents.end(HASH, ImageError("The file is empty.", code="not_an_image"))
    _, written_later = contents.add([_fetched(2)])
    contents.forget(written_first)
    again = _fetched(3)
    assert contents.add([again]) == ([again], [])
    contents.forget(written_later)
    assert [entry.work for entry in contents.end(HASH, Embedded())] == [again.work]
