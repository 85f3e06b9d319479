from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from siglip_ingest.db import Database, images, items
from siglip_ingest.errors import DatabaseError, ImageError, NotFoundError
from tests.database.helpers import (
    INFO,
    add_model,
    claim,
    close_claim,
    complete,
    completed,
    failure,
    image_rows,
    states,
    unit_vectors,
)


def test_ids_come_back_in_the_order_of_the_rows(database: Database, model_id: int) -> None:
    rows = image_rows(20)[::-1]
    with database.connection() as connection:
        image_ids = images.insert_images(connection, rows, model_id).image_ids
        found = dict(connection.execute("SELECT image_id, uri FROM siglip.images").fetchall())  # type: ignore[arg-type]
    assert [found[image_id] for image_id in image_ids] == [row.uri for row in rows]


class CountingCursor(psycopg.Cursor[Any]):
    """Counts the statements of all cursors."""

    statements = 0

    def execute(self, *arguments: Any, **options: Any) -> Any:
        CountingCursor.statements += 1
        return super().execute(*arguments, **options)

    def copy(self, *arguments: Any, **options: Any) -> Any:
        CountingCursor.statements += 1
        return super().copy(*arguments, **options)


def count_statements(database: Database, rows: list[images.ImageRow], model_id: int) -> int:
    with database.session() as connection:
        connection.cursor_factory = CountingCursor
        before = CountingCursor.statements
        assert len(images.insert_images(connection, rows, model_id).image_ids) == len(rows)
        return CountingCursor.statements - before


def test_ten_thousand_rows_take_as_many_statements_as_one(database: Database, model_id: int) -> None:
    few = count_statements(database, image_rows(1, collection="one"), model_id)
    assert 1 < few < 20
    assert count_statements(database, image_rows(10_000), model_id) == few


def test_rows_that_are_given_a_second_time_change_nothing(database: Database, model_id: int) -> None:
    rows = image_rows(10_000, source_version="1", metadata={"album": "2026"})
    with database.connection() as connection:
        first = images.insert_images(connection, rows, model_id).image_ids
    with database.connection() as connection:
        before = connection.execute("SELECT max(updated_at) FROM siglip.images").fetchone()
        assert images.insert_images(connection, rows, model_id).image_ids == first
        assert connection.execute("SELECT max(updated_at) FROM siglip.images").fetchone() == before
        assert states(connection, model_id) == {"queued": 10_000}


def test_a_uri_that_is_given_twice_is_one_image_and_the_last_row_counts(database: Database, model_id: int) -> None:
    rows = [
        images.ImageRow(collection="default", uri="a", key="first", metadata={"n": 1}),
        images.ImageRow(collection="default", uri="a", key="last", metadata={"n": 2}),
        images.ImageRow(collection="other", uri="a"),
    ]
    with database.connection() as connection:
        first, second, other = images.insert_images(connection, rows, model_id).image_ids
        row = connection.execute("SELECT key, metadata FROM siglip.images WHERE image_id = %s", [first]).fetchone()
    assert first == second != other
    assert row == ("last", {"n": 2})


def test_metadata_are_merged_and_a_key_is_kept(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        first = images.ImageRow(collection="default", uri="a", key="k", metadata={"album": "x", "n": 1})
        images.insert_images(connection, [first], model_id)
        images.insert_images(connection, [images.ImageRow(collection="default", uri="a", metadata={"n": 2})], model_id)
        assert connection.execute("SELECT key, metadata FROM siglip.images").fetchall() == [
            ("k", {"album": "x", "n": 2})
        ]


def test_bytes_are_kept_and_loaded(database: Database, model_id: int) -> None:
    content = bytes(range(256)) * 100
    row = images.ImageRow(collection="default", uri="sha256:00", content=content)
    with database.connection() as connection:
        (image_id,) = images.insert_images(connection, [row], model_id).image_ids
        assert images.insert_images(connection, [row], model_id).image_ids == [image_id]
        assert images.load_content(connection, image_id, max_image_bytes=len(content)) == content
        assert claim(connection, model_id).items[0].has_content
        with pytest.raises(NotFoundError, match="image 99"):
            images.load_content(connection, 99, max_image_bytes=1)
        with pytest.raises(ImageError, match=r"25,600 bytes; at most 25,599") as caught:
            images.load_content(connection, image_id, max_image_bytes=len(content) - 1)
    assert caught.value.code == "too_large"


def _embed_all(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(100), strict=False)]
        assert complete(connection, model_id, chunk.lease_token, results) == len(chunk.items)


def test_done_and_unchanged_stays_done_and_changed_is_queued_under_every_model(
    database: Database, model_id: int
) -> None:
    rows = image_rows(3, source_version="1")
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        images.insert_images(connection, rows, model_id)
        items.queue_missing(connection, other)
    _embed_all(database, model_id)
    _embed_all(database, other)
    changed = [rows[0], dataclasses.replace(rows[1], source_version="2"), rows[2]]
    with database.connection() as connection:
        images.insert_images(connection, changed, model_id)
        assert states(connection, model_id) == {"done": 2, "queued": 1}
        assert states(connection, other) == {"done": 2, "queued": 1}
        assert claim(connection, model_id).items[0].uri == rows[1].uri


def test_a_failed_image_is_queued_again_when_it_is_handed_over_again(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1), model_id)
        chunk = claim(connection, model_id)
        failed = failure(chunk.items[0], "not_found", "There is no such file.")
        close_claim(connection, model_id, chunk.lease_token, [], [failed])
        assert states(connection, model_id) == {"failed": 1}
        images.insert_images(connection, image_rows(1), model_id)
        item = claim(connection, model_id).items[0]
    assert item.attempts == 1


def test_an_image_that_changes_while_a_worker_has_it_is_taken_from_that_worker(
    database: Database, model_id: int
) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1, source_version="1"), model_id)
        chunk = claim(connection, model_id)
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1, source_version="2"), model_id)
    with database.connection() as connection:
        results = [completed(chunk.items[0], unit_vectors(1)[0])]
        assert complete(connection, model_id, chunk.lease_token, results) == 0
        assert connection.execute("SELECT content_id FROM siglip.images").fetchall() == [(None,)]
        assert states(connection, model_id) == {"queued": 1}


def test_an_insert_that_fails_leaves_nothing(database: Database) -> None:
    with pytest.raises(DatabaseError, match="model"), database.connection() as connection:
        images.insert_images(connection, image_rows(3), 99)
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.images").fetchone() == (0,)


def test_two_callers_insert_overlapping_images_in_opposite_order(database: Database, model_id: int) -> None:
    rows = image_rows(2_000, source_version="1")
    barrier = threading.Barrier(4)

    def insert(caller: int) -> int:
        barrier.wait(10)
        with database.connection() as connection:
            changed = [dataclasses.replace(row, source_version=str(caller)) for row in rows]
            return len(images.insert_images(connection, changed[:: 1 if caller % 2 else -1], model_id).image_ids)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(insert, range(4))) == [2_000] * 4
    with database.connection() as connection:
        assert states(connection, model_id) == {"queued": 2_000}


def test_listeners_are_woken_when_images_are_committed(database: Database, model_id: int) -> None:
    with database.listen("siglip_ingest_items") as listener:
        with database.connection() as connection:
            images.insert_images(connection, image_rows(1), model_id)
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [str(model_id)]
