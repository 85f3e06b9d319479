from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from siglip_ingest.db import Connection, Database, images, items, workers
from siglip_ingest.db.items import Closed, FailedItem
from siglip_ingest.db.workers import Requeued
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import ImageFailure, IngestCounts
from tests.database.helpers import (
    INFO,
    Chunk,
    add_model,
    add_worker,
    claim,
    close_claim,
    complete,
    completed,
    content_hash,
    disown_claim,
    failure,
    failures_of,
    image_rows,
    release_claim,
    states,
    try_to_claim,
    unit_vectors,
)


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    """Ten queued images."""
    with database.connection() as connection:
        return images.insert_images(connection, image_rows(10), model_id).image_ids


def _lose_workers(connection: Connection) -> None:
    """Let every worker be silent for longer than its lease; the server's own start counts as a sign of life."""
    connection.execute("UPDATE siglip.workers SET lease_s = 1e-6, seen_at = '-infinity'")


def _fail(
    connection: Connection,
    model_id: int,
    chunk: Chunk,
    *failed: FailedItem,
    max_attempts: int = 3,
) -> Closed:
    return close_claim(connection, model_id, chunk.lease_token, [], failed, max_attempts=max_attempts)


def test_a_claim_takes_the_oldest_items_and_counts_an_attempt(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, limit=4)
        assert [item.image_id for item in chunk.items] == image_ids[:4]
        assert {item.attempts for item in chunk.items} == {1}
        assert {item.has_content for item in chunk.items} == {False}
        assert states(connection, model_id) == {"queued": 6, "claimed": 4}


def test_nothing_queued_is_no_chunk(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        assert try_to_claim(connection, model_id) is None


def test_two_claimers_never_get_the_same_item(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(600), model_id)
    barrier = threading.Barrier(6)

    def work(_: int) -> list[int]:
        claimed: list[int] = []
        barrier.wait(10)
        while True:
            with database.connection() as connection:
                chunk = try_to_claim(connection, model_id, 7)
            if chunk is None:
                return claimed
            claimed += [item.item_id for item in chunk.items]

    with ThreadPoolExecutor(6) as pool:
        claimed = [item_id for part in pool.map(work, range(6)) for item_id in part]
    assert len(claimed) == len(set(claimed)) == 600


def test_items_of_another_model_are_left_alone(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        assert try_to_claim(connection, other) is None
        assert items.queue_missing(connection, other) == 10
        assert items.queue_missing(connection, other) == 0
        assert len(claim(connection, other).items) == 10
        assert states(connection, model_id) == {"queued": 10}


def test_completing_stores_vectors_and_closes_items(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        vectors = unit_vectors(10)
        results = [completed(item, vector) for item, vector in zip(chunk.items, vectors, strict=True)]
        assert complete(connection, model_id, chunk.lease_token, results) == 10
        assert states(connection, model_id) == {"done": 10}
        stored = connection.execute(
            "SELECT width, height, format, content_hash FROM siglip.contents JOIN siglip.images USING (content_id)"
            " ORDER BY image_id LIMIT 1"
        ).fetchone()
        assert stored == (640, 480, "JPEG", results[0].content_hash)
        hashes = [result.content_hash for result in results]
        assert items.find_embedded(connection, model_id, [*hashes, content_hash("another")]) == set(hashes)
        row = connection.execute(
            "SELECT embedding::real[] FROM siglip.image_embeddings JOIN siglip.contents USING (content_id)"
            " WHERE content_hash = %s",
            [hashes[3]],
        ).fetchone()
    assert row is not None
    assert row[0] == pytest.approx(vectors[3], abs=5e-4)


def test_completing_twice_changes_nothing(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
    results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10), strict=True)]
    again = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10, seed=1), strict=True)]
    with database.connection() as connection:
        assert complete(connection, model_id, chunk.lease_token, results) == 10
    with database.connection() as connection:
        before = connection.execute("SELECT content_id, embedding::text FROM siglip.image_embeddings").fetchall()
        assert complete(connection, model_id, chunk.lease_token, again) == 0
        after = connection.execute("SELECT content_id, embedding::text FROM siglip.image_embeddings").fetchall()
    assert before == after


def test_one_content_under_two_uris_has_one_vector(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        first, second, third, *_ = chunk.items
        vector = unit_vectors(1)[0]
        results = [completed(first, vector, "same"), completed(second, vector, "same")]
        assert complete(connection, model_id, chunk.lease_token, results) == 2
        assert release_claim(connection, chunk.lease_token) == 8
        again = claim(connection, model_id)
        assert again.items[0].item_id == third.item_id
        assert complete(connection, model_id, again.lease_token, [completed(again.items[0], None, "same")]) == 1
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (1,)


def test_an_item_without_a_vector_is_not_done_and_queued_again(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        results = [completed(item, None) for item in chunk.items]
        assert close_claim(connection, model_id, chunk.lease_token, results) == Closed(requeued=10)
        assert states(connection, model_id) == {"queued": 10}


def test_a_vector_with_nan_is_refused(database: Database, model_id: int, image_ids: list[int]) -> None:
    vector = unit_vectors(1)[0]
    vector[3] = float("nan")
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        with pytest.raises(InvalidInputError, match="NaN"):
            complete(connection, model_id, chunk.lease_token, [completed(chunk.items[0], vector)])


def test_two_workers_complete_the_same_contents_at_once(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(400), model_id)
    vectors = unit_vectors(20)
    barrier = threading.Barrier(4)

    def work(seed: int) -> int:
        with database.connection() as connection:
            chunk = claim(connection, model_id, limit=100)
        turned = chunk.items[:: 1 if seed % 2 else -1]
        results = [completed(item, vectors[item.item_id % 20], item.item_id % 20) for item in turned]
        barrier.wait(10)
        with database.connection() as connection:
            return complete(connection, model_id, chunk.lease_token, results)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [100] * 4
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (20,)


def test_completing_and_handing_over_again_at_once_do_not_wait_for_each_other(
    database: Database, model_id: int
) -> None:
    rows = image_rows(300, source_version="0")
    with database.connection() as connection:
        images.insert_images(connection, rows, model_id)

    def embed(_: int) -> None:
        while True:
            with database.connection() as connection:
                chunk = try_to_claim(connection, model_id, 50)
            if chunk is None:
                return
            results = [completed(item, unit_vectors(1)[0]) for item in chunk.items[::-1]]
            with database.connection() as connection:
                complete(connection, model_id, chunk.lease_token, results)

    def hand_over(version: int) -> None:
        with database.connection() as connection:
            changed = [dataclasses.replace(row, source_version=str(version)) for row in rows]
            images.insert_images(connection, changed, model_id)

    with ThreadPoolExecutor(4) as pool:
        tasks = [pool.submit(task, n) for n in range(1, 7) for task in (embed, hand_over)]
        for task in tasks:
            task.result(60)
    embed(0)
    with database.connection() as connection:
        assert states(connection, model_id) == {"done": 300}


def test_a_token_that_no_longer_counts_changes_nothing(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        stale = claim(connection, model_id)
        _lose_workers(connection)
        assert workers.requeue_lost(connection, max_attempts=3) == Requeued(requeued=10, failed=0)
        while try_to_claim(connection, model_id):
            pass
        before = connection.execute("SELECT t::text FROM siglip.ingest_items AS t ORDER BY item_id").fetchall()
        results = [completed(item, vector) for item, vector in zip(stale.items[1:], unit_vectors(9), strict=True)]
        failed = [
            failure(stale.items[0], "unreadable", "x"),
            failure(stale.items[0], "fetch_failed", "x", pause_s=0),
        ]
        assert close_claim(connection, model_id, stale.lease_token, results, failed) == Closed()
        assert release_claim(connection, stale.lease_token) == 0
        assert disown_claim(connection, stale.lease_token) == 0
        after = connection.execute("SELECT t::text FROM siglip.ingest_items AS t ORDER BY item_id").fetchall()
        assert before == after
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (0,)
        assert connection.execute("SELECT count(content_id) FROM siglip.images").fetchone() == (0,)


def test_a_token_of_another_model_s_claim_changes_nothing(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        chunk = claim(connection, model_id)
        results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10), strict=True)]
        assert close_claim(connection, other, chunk.lease_token, results).done == 0
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (0,)


def test_a_claim_counts_for_as_long_as_its_worker_is_renewed(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        worker_id = add_worker(connection, model_id)
        chunk = claim(connection, model_id, worker_id=worker_id)
        connection.execute("UPDATE siglip.workers SET seen_at = '-infinity'")
        workers.renew_worker(connection, worker_id, model_id, node="test@host", lease_s=60)
        assert workers.requeue_lost(connection, max_attempts=3) == Requeued(0, 0)
        assert workers.count_workers(connection, model_id) == 1
        assert workers.delete_lost_workers(connection) == []
        results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10), strict=True)]
        assert complete(connection, model_id, chunk.lease_token, results) == 10


def test_after_a_start_of_the_server_a_silent_worker_has_a_whole_lease_to_be_heard(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        claim(connection, model_id)
        connection.execute(
            "UPDATE siglip.workers SET seen_at = '-infinity', lease_s = 1e6"
        )  # more than the server's age
        assert workers.requeue_lost(connection, max_attempts=3) == Requeued(0, 0)
        assert workers.delete_lost_workers(connection) == []


@pytest.mark.parametrize("end", ["silence", "a farewell"])
def test_what_a_worker_held_is_queued_when_it_ends(
    database: Database, model_id: int, image_ids: list[int], end: str
) -> None:
    with database.connection() as connection:
        worker_id = add_worker(connection, model_id)
        claim(connection, model_id, 4, worker_id=worker_id)
        claim(connection, model_id, 3)  # of another one, which lives
        if end == "silence":
            connection.execute("UPDATE siglip.workers SET lease_s = 1e-6 WHERE worker_id = %s", [worker_id])
            assert workers.delete_lost_workers(connection) == []  # not before its items are taken back
        else:
            workers.delete_worker(connection, worker_id)
        assert workers.requeue_lost(connection, max_attempts=3) == Requeued(requeued=4, failed=0)
        assert workers.delete_lost_workers(connection) == (["test@host"] if end == "silence" else [])
        assert workers.count_workers(connection) == 1
        assert states(connection, model_id) == {"queued": 7, "claimed": 3}


def test_a_worker_that_nobody_knows_claims_nothing(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        assert try_to_claim(connection, model_id, worker_id=uuid4()) is None


def test_a_worker_hands_back_the_claims_that_it_does_not_know_of(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        worker_id = add_worker(connection, model_id)
        known, _stray = (claim(connection, model_id, 3, worker_id=worker_id) for _ in range(2))
        other = claim(connection, model_id, 2)
        assert items.release_strays(connection, worker_id, [known.lease_token]) == 3
        assert states(connection, model_id) == {"queued": 5, "claimed": 5}
        assert items.release_strays(connection, worker_id, []) == 3
        assert release_claim(connection, other.lease_token) == 2
        assert {item.attempts for item in claim(connection, model_id).items} == {1}


def test_a_claim_that_its_worker_gave_up_is_found_as_a_lost_one(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        worker_id = add_worker(connection, model_id)
        chunk = claim(connection, model_id, 4, worker_id=worker_id)
        kept = claim(connection, model_id, 2, worker_id=worker_id)
        assert disown_claim(connection, chunk.lease_token) == 4
        assert workers.requeue_lost(connection, max_attempts=3) == Requeued(requeued=4, failed=0)
        assert release_claim(connection, kept.lease_token) == 2


def _claim_suspects(connection: Connection, model_id: int, limit: int = 4) -> list[items.ItemRow]:
    worker_id = add_worker(connection, model_id)
    return items.claim_suspects(connection, worker_id, model_id, limit, uuid4(), max_attempts=3)


def test_what_lost_its_worker_is_claimed_apart_from_the_rest_and_in_the_end_alone(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    """Of many that were lost together, the one that ends workers is found, and no other one fails with it."""
    with database.connection() as connection:
        claim(connection, model_id, limit=6)
        assert not items.has_suspects(connection, model_id)
        _lose_workers(connection)
        workers.requeue_lost(connection, max_attempts=3)
        assert items.has_suspects(connection, model_id)
        assert [item.is_suspect for item in claim(connection, model_id).items] == [False] * 4
        assert try_to_claim(connection, model_id) is None
        assert [item.attempts for item in _claim_suspects(connection, model_id)] == [2] * 4
        _lose_workers(connection)
        workers.requeue_lost(connection, max_attempts=3)  # the four that weren't suspects are now, too
        sizes = []
        while suspects := _claim_suspects(connection, model_id):
            sizes.append((len(suspects), suspects[0].attempts))
        assert not items.has_suspects(connection, model_id)
    assert sorted(sizes) == [(1, 3)] * 4 + [(2, 2), (4, 2)]


def test_what_lost_its_worker_too_often_fails(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        image_ids = images.insert_images(connection, image_rows(1), model_id).image_ids
        for expected in (Requeued(1, 0), Requeued(1, 0), Requeued(0, 1)):
            assert try_to_claim(connection, model_id) or _claim_suspects(connection, model_id)
            _lose_workers(connection)
            assert workers.requeue_lost(connection, max_attempts=3) == expected
        (listed,) = failures_of(connection, image_ids)
        assert workers.requeue_lost(connection, max_attempts=3) == Requeued(0, 0)
    assert listed.error_code == "worker_lost"
    assert "3 workers" in listed.error_message


def test_listeners_are_woken_by_what_is_queued_again(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.listen("siglip_ingest_items") as listener:
        for end in (None, _lose_workers):
            with database.connection() as connection:
                chunk = claim(connection, model_id)
                if end is None:
                    release_claim(connection, chunk.lease_token)
                else:
                    end(connection)
                    workers.requeue_lost(connection, max_attempts=9)
            assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [str(model_id)]


def test_a_retry_waits_and_joins_a_normal_chunk(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, 6)
        failed = [failure(item, "fetch_failed", "503", pause_s=0) for item in chunk.items[:5]]
        later = failure(chunk.items[5], "fetch_failed", "503", pause_s=60)
        assert _fail(connection, model_id, chunk, *failed, later) == Closed(requeued=6)
    with database.connection() as connection:
        again = claim(connection, model_id)
    assert [item.item_id for item in again.items[:5]] == [item.item_id for item in chunk.items[:5]]
    assert [item.attempts for item in again.items] == [2] * 5 + [1] * 4
    assert later.item_id not in {item.item_id for item in again.items}


def test_retries_end_as_failed_with_the_last_reason(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        image_ids = images.insert_images(connection, image_rows(1), model_id).image_ids
    for attempt in range(3):
        with database.connection() as connection:
            chunk = claim(connection, model_id)
            reason = f"The server answered 503 ({attempt})."
            closed = _fail(connection, model_id, chunk, failure(chunk.items[0], "fetch_failed", reason, 0))
            assert closed == (Closed(failed=1) if attempt == 2 else Closed(requeued=1))
    with database.connection() as connection:
        failures = failures_of(connection, image_ids)
        assert failures == [
            ImageFailure(image_ids[0], "file:///00000.jpg", "fetch_failed", "The server answered 503 (2).")
        ]
        assert items.retry_failed(connection, model_id, "another collection") == 0
        assert items.retry_failed(connection, model_id) == 1
        assert claim(connection, model_id).items[0].attempts == 1


def test_any_text_can_be_a_reason(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, limit=1)
        reason = failure(chunk.items[0], "unreadable", "a\0b\udc80" * 2000)
        assert _fail(connection, model_id, chunk, reason) == Closed(failed=1)
        (listed,) = failures_of(connection, image_ids)
    assert listed.error_message.startswith("ab?")
    assert len(listed.error_message) == 2000


def test_what_is_handed_back_counts_no_attempt(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        reason = failure(chunk.items[0], "unreadable", "x")
        assert _fail(connection, model_id, chunk, reason) == Closed(failed=1)
        assert release_claim(connection, chunk.lease_token) == 9
        assert states(connection, model_id) == {"queued": 9, "failed": 1}
        again = claim(connection, model_id)
        assert {item.attempts for item in again.items} == {1}
        assert release_claim(connection, again.lease_token) == 9
        assert {item.attempts for item in claim(connection, model_id).items} == {1}


def test_what_waits_for_a_model_that_never_comes_moves_along(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        assert items.move_queued(connection, from_model_id=model_id, to_model_id=other) == 10
        assert states(connection, other) == {"queued": 10}
        assert items.count_all(connection, model_id) == IngestCounts()
        assert items.count_all(connection) == IngestCounts(queued=10)


def test_deleting_an_image_deletes_its_items(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        connection.execute("DELETE FROM siglip.images WHERE image_id = %s", [image_ids[0]])
        assert states(connection, model_id) == {"claimed": 9}
        results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10), strict=True)]
        assert complete(connection, model_id, chunk.lease_token, results) == 9


def test_metadata_that_a_worker_read_are_added(database: Database, model_id: int) -> None:
    rows = image_rows(2, metadata={"album": "2026", "camera": "mine"}, reads_exif=True)
    with database.connection() as connection:
        image_ids = images.insert_images(connection, rows, model_id).image_ids
        chunk = claim(connection, model_id)
        assert [item.reads_exif for item in chunk.items] == [True, True]
        first, second = (completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(2), strict=True))
        read = dataclasses.replace(first, metadata={"camera": "Canon", "latitude": -33.5})
        assert complete(connection, model_id, chunk.lease_token, [read, second]) == 2
        statement = "SELECT metadata FROM siglip.images WHERE image_id = ANY (%s) ORDER BY image_id"
        assert [row for (row,) in connection.execute(statement, (image_ids,))] == [
            {"album": "2026", "camera": "Canon", "latitude": -33.5},
            {"album": "2026", "camera": "mine"},
        ]


def test_an_image_is_queued_again_once_its_exif_data_are_asked_for(database: Database, model_id: int) -> None:
    def queued_again(version: str, *, reads_exif: bool) -> int:
        rows = image_rows(1, source_version=version, reads_exif=reads_exif)
        images.insert_images(connection, rows, model_id)
        chunk = try_to_claim(connection, model_id)
        if chunk is None:
            return 0
        (item,) = chunk.items
        return complete(connection, model_id, chunk.lease_token, [completed(item, unit_vectors(1)[0])])

    with database.connection() as connection:
        asked = [queued_again("1", reads_exif=reads_exif) for reads_exif in (False, False, True, True, False, True)]
        assert asked == [1, 0, 1, 0, 0, 0]
        # Once asked for, it stays so, also for a file that has changed.
        assert queued_again("2", reads_exif=False) == 1
        assert queued_again("2", reads_exif=True) == 0


def test_a_claim_says_which_version_was_queued(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1, source_version="1-2@512+3~4"), model_id)
        assert claim(connection, model_id).items[0].source_version == "1-2@512+3~4"
