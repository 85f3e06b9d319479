"""Ingestions: images that are queued as they come, and followed by an id."""

from __future__ import annotations

import logging
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from siglip_ingest.db import Database, ingestions
from siglip_ingest.errors import InvalidInputError, NotFoundError, WorkerUnavailableError
from siglip_ingest.ingest import Ingestion, enqueue, enqueue_images, ingestion
from siglip_ingest.types import IngestCounts
from tests.database.helpers import (
    INFO,
    add_model,
    claim,
    close_claim,
    complete,
    completed,
    failure,
    states,
    unit_vectors,
)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Parts of ten images."""
    monkeypatch.setattr(enqueue, "ROWS_PER_PART", 10)
    return 10


def _addresses(count: int, *, start: int = 0) -> list[str]:
    return [f"https://example.org/{number}.jpg" for number in range(start, start + count)]


def _finish(database: Database, model_id: int, count: int) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, count)
        results = [
            completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(len(chunk.items)), strict=True)
        ]
        complete(connection, model_id, chunk.lease_token, results)


def test_workers_can_begin_while_images_still_come(database: Database, model_id: int, small_parts: int) -> None:
    seen = []

    def sources() -> Iterator[str]:
        for address in _addresses(35):
            with database.connection() as connection:
                seen.append(states(connection, model_id).get("queued", 0))
            yield address

    queued: list[tuple[int, int]] = []
    made = enqueue_images(database, sources(), on_queued=lambda *call: queued.append(call))
    assert max(seen[:10]) == 0
    assert min(seen[20:]) >= 10  # a part is written while the next is read
    assert min(seen[30:]) >= 20
    assert queued == [(model_id, 10)] * 3 + [(model_id, 5)]
    assert made.counts() == IngestCounts(queued=35)
    with database.connection() as connection:
        uris = connection.execute("SELECT uri FROM siglip.images ORDER BY image_id").fetchall()
        assert ingestions.get_ingestion(connection, made.ingestion_id).is_complete
    assert [uri for (uri,) in uris] == _addresses(35)
    assert made.image_ids == sorted(made.image_ids)


def test_a_slow_generator_is_written_as_it_comes(
    database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue, "SECONDS_PER_PART", 0.0)
    counts = []
    enqueue_images(database, iter(_addresses(3)), on_queued=lambda _model_id, count: counts.append(count))
    assert counts == [1, 1, 1]
    enqueue_images(database, _addresses(3, start=10), on_queued=lambda _model_id, count: counts.append(count))
    assert counts == [1, 1, 1, 3]  # a list is there as a whole


def test_what_is_indexed_already_is_no_work(database: Database, model_id: int) -> None:
    enqueue_images(database, _addresses(3))
    _finish(database, model_id, 3)
    queued: list[object] = []
    again = enqueue_images(database, _addresses(3), on_queued=lambda *call: queued.append(call))
    assert queued == []
    assert again.counts() == IngestCounts(done=3)


def test_a_source_that_comes_twice_counts_once(database: Database, model_id: int, small_parts: int) -> None:
    made = enqueue_images(database, [*_addresses(25), *_addresses(12)])
    assert made.counts() == IngestCounts(queued=25)
    assert len(made.image_ids) == 25


def test_an_error_in_the_first_part_leaves_nothing(database: Database, model_id: int, small_parts: int) -> None:
    with pytest.raises(InvalidInputError, match="There is no file"):
        enqueue_images(database, [*_addresses(8), "/nowhere/a.jpg"])
    with database.connection() as connection:
        assert states(connection, model_id) == {}
        assert ingestions.list_ingestions(connection, 10) == []


def test_an_error_later_says_what_is_queued(database: Database, model_id: int, small_parts: int) -> None:
    with pytest.raises(
        InvalidInputError, match=r"no file .* The 28 images before it are queued: `siglip-ingest wait 1`"
    ):
        enqueue_images(database, [*_addresses(28), "/nowhere/a.jpg"])
    with database.connection() as connection:
        assert states(connection, model_id) == {"queued": 28}
        (row,) = ingestions.list_ingestions(connection, 10)
    assert row.is_complete  # nothing more comes


def test_an_interrupted_generator_leaves_an_ingestion_that_is_complete(
    database: Database, model_id: int, small_parts: int
) -> None:
    def sources() -> Iterator[str]:
        yield from _addresses(15)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enqueue_images(database, sources())
    with database.connection() as connection:
        (row,) = ingestions.list_ingestions(connection, 10)
    assert row.is_complete


def test_the_memory_of_the_queueing_process_is_constant(
    database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue, "ROWS_PER_PART", 500)

    def sources(count: int) -> Iterator[str]:
        yield from (f"https://example.org/{'long' * 50}/{number}.jpg" for number in range(count))

    peaks = []
    for count in (2_000, 8_000):
        tracemalloc.start()
        try:
            enqueue_images(database, sources(count), collection=str(count))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_images_given_as_bytes_are_written_before_they_fill_the_memory(
    database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enqueue, "BYTES_PER_PART", 1000)
    counts = []
    images = [bytes([number]) * 400 for number in range(1, 8)]
    enqueue_images(database, images, on_queued=lambda _model_id, count: counts.append(count))
    assert counts == [3, 3, 1]


def test_a_model_change_in_the_middle_leaves_no_image_out(database: Database, model_id: int, small_parts: int) -> None:
    import dataclasses

    from siglip_ingest import active_model

    def sources() -> Iterator[str]:
        yield from _addresses(15)
        with database.connection() as connection:
            other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        active_model.switch_model(database, other)
        yield from _addresses(15, start=15)

    made = enqueue_images(database, sources())
    assert made.model_id == model_id
    with database.connection() as connection:
        assert states(connection, model_id) == {"queued": 30}
        assert states(connection, model_id + 1) == {"queued": 30}


def test_another_process_follows_an_ingestion_by_its_id(database: Database, model_id: int) -> None:
    made = enqueue_images(database, _addresses(5))
    followed = Ingestion(database, made.ingestion_id, made.model_id)
    with pytest.raises(WorkerUnavailableError, match="5 queued"):
        followed.wait(0.0)
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        done = [completed(item, vector) for item, vector in zip(chunk.items[1:], unit_vectors(4), strict=True)]
        failed = [failure(chunk.items[0], "not_found", "There is no such file.")]
        close_claim(connection, model_id, chunk.lease_token, done, failed)
    assert followed.wait(10) == IngestCounts(done=4, failed=1)
    (failed_image,) = followed.failures()
    assert (failed_image.uri, failed_image.error_code) == ("https://example.org/0.jpg", "not_found")


def test_who_follows_waits_for_images_that_are_still_to_come(
    database: Database, model_id: int, small_parts: int
) -> None:
    release = threading.Event()
    ids: list[int] = []

    def sources() -> Iterator[str]:
        yield from _addresses(10)
        yield from _addresses(1, start=10)
        assert release.wait(30)
        yield from _addresses(4, start=11)

    thread = threading.Thread(target=lambda: ids.append(enqueue_images(database, sources()).ingestion_id))
    thread.start()
    while not (listed := _list(database)):
        pass
    followed = Ingestion(database, listed[0].ingestion_id, model_id)
    assert not listed[0].is_complete
    _finish(database, model_id, 10)
    with pytest.raises(WorkerUnavailableError, match="10 done"):
        followed.wait(0.3)
    release.set()
    thread.join()
    _finish(database, model_id, 10)
    assert followed.wait(10) == IngestCounts(done=15)


def _list(database: Database) -> list[ingestions.IngestionRow]:
    with database.connection() as connection:
        return ingestions.list_ingestions(connection, 10)


def test_an_ingestion_whose_process_was_killed_ends_with_a_warning(
    database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ingestion, "CUT_OFF_AFTER_S", 0.0)
    made = enqueue_images(database, _addresses(2))
    with database.connection() as connection:
        connection.execute("UPDATE siglip.ingestions SET is_complete = false")
    _finish(database, model_id, 2)
    with caplog.at_level(logging.WARNING):
        assert made.wait(10) == IngestCounts(done=2)
    assert "was cut off" in caplog.text


def test_an_ingestion_that_is_not_there_is_said_to_be_so(database: Database, model_id: int) -> None:
    with database.connection() as connection, pytest.raises(NotFoundError, match="no ingestion 99"):
        ingestions.get_ingestion(connection, 99)


def test_old_ingestions_are_forgotten_and_their_images_stay(database: Database, model_id: int) -> None:
    enqueue_images(database, _addresses(2))
    with database.connection() as connection:
        connection.execute("UPDATE siglip.ingestions SET created_at = now() - interval '31 days'")
    second = enqueue_images(database, _addresses(2))
    assert [row.ingestion_id for row in _list(database)] == [second.ingestion_id]
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.ingestion_images").fetchone() == (1,)
        assert states(connection, model_id) == {"queued": 2}


def test_images_that_were_deleted_are_not_counted(database: Database, model_id: int) -> None:
    made = enqueue_images(database, _addresses(4))
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.images WHERE uri LIKE '%/1.jpg'")
    assert made.counts() == IngestCounts(queued=3)


def test_a_folder_is_queued_with_its_images_in_order(
    tmp_path: Path, database: Database, model_id: int, small_parts: int
) -> None:
    paths = [tmp_path / f"{number:02}.jpg" for number in range(23)]
    for path in paths:
        path.write_bytes(b"only its name is looked at")
    made = enqueue_images(database, tmp_path)
    with database.connection() as connection:
        uris = dict(connection.execute("SELECT image_id, uri FROM siglip.images").fetchall())
    assert [uris[image_id] for image_id in made.image_ids] == [path.as_uri() for path in paths]
