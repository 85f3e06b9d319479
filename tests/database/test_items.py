from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from siglip_ingest.db import Connection, Database, images, items
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import ImageFailure, IngestCounts
from tests.database.helpers import INFO, add_model, claim, completed, content_hash, image_rows, states, unit_vectors


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    """Ten queued images."""
    with database.connection() as connection:
        return images.insert_images(connection, image_rows(10), model_id)


def _expire(connection: Connection) -> None:
    connection.execute(
        "UPDATE siglip.ingest_items SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE state = 'claimed'"
    )


def test_a_claim_takes_the_oldest_items_and_counts_an_attempt(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, limit=4)
        assert [item.image_id for item in chunk.items] == image_ids[:4]
        assert {item.attempts for item in chunk.items} == {1}
        assert {item.has_content for item in chunk.items} == {False}
        assert items.count_items(connection, image_ids, model_id) == IngestCounts(queued=6, claimed=4)


def test_nothing_queued_is_no_chunk(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        assert items.claim_items(connection, model_id, 10, 60) is None


def test_two_claimers_never_get_the_same_item(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(600), model_id)
    barrier = threading.Barrier(6)

    def work(_: int) -> list[int]:
        claimed: list[int] = []
        barrier.wait(10)
        while True:
            with database.connection() as connection:
                chunk = items.claim_items(connection, model_id, 7, 60)
            if chunk is None:
                return claimed
            claimed += [item.item_id for item in chunk.items]

    with ThreadPoolExecutor(6) as pool:
        claimed = [item_id for part in pool.map(work, range(6)) for item_id in part]
    assert len(claimed) == len(set(claimed)) == 600


def test_items_of_another_model_are_left_alone(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
        assert items.claim_items(connection, other, 10, 60) is None
        assert items.queue_missing(connection, other) == 10
        assert items.queue_missing(connection, other) == 0
        assert len(claim(connection, other).items) == 10
        assert states(connection, model_id) == {"queued": 10}


def test_completing_stores_vectors_and_closes_items(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        vectors = unit_vectors(10)
        results = [completed(item, vector) for item, vector in zip(chunk.items, vectors, strict=True)]
        assert items.complete_items(connection, model_id, chunk.lease_token, results) == 10
        assert items.count_items(connection, image_ids, model_id) == IngestCounts(done=10)
        stored = connection.execute("SELECT width, height, format, content_hash FROM siglip.images LIMIT 1").fetchone()
        assert stored == (640, 480, "JPEG", results[0].content_hash)
        hashes = [result.content_hash for result in results]
        assert items.find_embedded(connection, model_id, [*hashes, content_hash("another")]) == set(hashes)
        row = connection.execute(
            "SELECT embedding::real[] FROM siglip.image_embeddings WHERE content_hash = %s", [hashes[3]]
        ).fetchone()
    assert row is not None
    assert row[0] == pytest.approx(vectors[3], abs=5e-4)


def test_completing_twice_changes_nothing(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
    results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10), strict=True)]
    again = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(10, seed=1), strict=True)]
    with database.connection() as connection:
        assert items.complete_items(connection, model_id, chunk.lease_token, results) == 10
    with database.connection() as connection:
        before = connection.execute("SELECT content_hash, embedding::text FROM siglip.image_embeddings").fetchall()
        assert items.complete_items(connection, model_id, chunk.lease_token, again) == 0
        after = connection.execute("SELECT content_hash, embedding::text FROM siglip.image_embeddings").fetchall()
    assert before == after


def test_one_content_under_two_uris_has_one_vector(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        first, second, third, *_ = chunk.items
        vector = unit_vectors(1)[0]
        results = [completed(first, vector, "same"), completed(second, vector, "same")]
        assert items.complete_items(connection, model_id, chunk.lease_token, results) == 2
        assert items.complete_items(connection, model_id, chunk.lease_token, [completed(third, None, "same")]) == 1
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (1,)


def test_an_item_without_a_vector_is_not_closed(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        results = [completed(item, None) for item in chunk.items]
        assert items.complete_items(connection, model_id, chunk.lease_token, results) == 0
        assert states(connection, model_id) == {"claimed": 10}


def test_a_vector_with_nan_is_refused(database: Database, model_id: int, image_ids: list[int]) -> None:
    vector = unit_vectors(1)[0]
    vector[3] = float("nan")
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        with pytest.raises(InvalidInputError, match="NaN"):
            items.complete_items(connection, model_id, chunk.lease_token, [completed(chunk.items[0], vector)])


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
            return items.complete_items(connection, model_id, chunk.lease_token, results)

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
                chunk = items.claim_items(connection, model_id, 50, 60)
            if chunk is None:
                return
            results = [completed(item, unit_vectors(1)[0]) for item in chunk.items[::-1]]
            with database.connection() as connection:
                items.complete_items(connection, model_id, chunk.lease_token, results)

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
        _expire(connection)
        assert items.requeue_expired(connection, max_attempts=3) == items.Requeued(requeued=10, failed=0)
        claim(connection, model_id)
        before = connection.execute("SELECT t::text FROM siglip.ingest_items AS t ORDER BY item_id").fetchall()
        item_id, token = stale.items[0].item_id, stale.lease_token
        results = [completed(item, vector) for item, vector in zip(stale.items, unit_vectors(10), strict=True)]
        assert items.complete_items(connection, model_id, token, results) == 0
        assert not items.fail_item(connection, item_id, token, "unreadable", "x")
        assert not items.retry_item(connection, item_id, token, "fetch_failed", "x", 0, 3)
        assert items.release_items(connection, token) == 0
        assert items.renew_lease(connection, token, 60) == 0
        assert items.load_items(connection, token, [item.item_id for item in stale.items]) == []
        after = connection.execute("SELECT t::text FROM siglip.ingest_items AS t ORDER BY item_id").fetchall()
        assert before == after
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (0,)
        assert connection.execute("SELECT count(content_hash) FROM siglip.images").fetchone() == (0,)


def test_a_renewed_lease_does_not_run_out(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, lease_s=0)
        assert items.renew_lease(connection, chunk.lease_token, 60) == 10
        assert items.requeue_expired(connection, max_attempts=3).requeued == 0
        assert items.load_items(connection, chunk.lease_token, [chunk.items[0].item_id]) == chunk.items[:1]


def test_what_lost_its_worker_is_claimed_alone_so_that_a_poison_image_fails_alone(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        claim(connection, model_id, limit=3)
        _expire(connection)
        items.requeue_expired(connection, max_attempts=3)
        sizes = []
        while chunk := items.claim_items(connection, model_id, 10, 60):
            sizes.append(len(chunk.items))
    assert sorted(sizes) == [1, 1, 1, 7]


def test_what_lost_its_worker_too_often_fails(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        image_ids = images.insert_images(connection, image_rows(1), model_id)
        for expected in (items.Requeued(1, 0), items.Requeued(1, 0), items.Requeued(0, 1)):
            claim(connection, model_id)
            _expire(connection)
            assert items.requeue_expired(connection, max_attempts=3) == expected
        (failure,) = items.list_failures(connection, image_ids, model_id)
        assert items.requeue_expired(connection, max_attempts=3) == items.Requeued(0, 0)
    assert failure.error_code == "worker_lost"
    assert "3 workers" in failure.error_message


def test_a_retry_waits_and_joins_a_normal_chunk(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        for item in chunk.items[:5]:
            assert items.retry_item(connection, item.item_id, chunk.lease_token, "fetch_failed", "503", 0, 3)
        assert items.retry_item(connection, chunk.items[5].item_id, chunk.lease_token, "fetch_failed", "503", 60, 3)
    with database.connection() as connection:
        again = claim(connection, model_id)
    assert [item.item_id for item in again.items] == [item.item_id for item in chunk.items[:5]]
    assert {item.attempts for item in again.items} == {2}


def test_retries_end_as_failed_with_the_last_reason(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        image_ids = images.insert_images(connection, image_rows(1), model_id)
    for attempt in range(3):
        with database.connection() as connection:
            chunk = claim(connection, model_id)
            reason = f"The server answered 503 ({attempt})."
            items.retry_item(connection, chunk.items[0].item_id, chunk.lease_token, "fetch_failed", reason, 0, 3)
    with database.connection() as connection:
        failures = items.list_failures(connection, image_ids, model_id)
        assert failures == [
            ImageFailure(image_ids[0], "file:///00000.jpg", "fetch_failed", "The server answered 503 (2).")
        ]
        assert items.retry_failed(connection, model_id, "another collection") == 0
        assert items.retry_failed(connection, model_id) == 1
        assert claim(connection, model_id).items[0].attempts == 1


def test_any_text_can_be_a_reason(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id, limit=1)
        assert items.fail_item(connection, chunk.items[0].item_id, chunk.lease_token, "unreadable", "a\0b\udc80" * 2000)
        (failure,) = items.list_failures(connection, image_ids, model_id)
    assert failure.error_message.startswith("ab?")
    assert len(failure.error_message) == 2000


def test_what_is_handed_back_counts_no_attempt(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        items.fail_item(connection, chunk.items[0].item_id, chunk.lease_token, "unreadable", "x")
        assert items.release_items(connection, chunk.lease_token) == 9
        assert states(connection, model_id) == {"queued": 9, "failed": 1}
        assert {item.attempts for item in claim(connection, model_id).items} == {1}


def test_what_waits_for_a_model_that_never_comes_moves_along(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"))
        assert items.move_queued(connection, from_model_id=model_id, to_model_id=other) == 10
        assert states(connection, other) == {"queued": 10}
        assert items.count_all(connection, model_id) == IngestCounts()
        assert items.count_all(connection) == IngestCounts(queued=10)


def test_deleting_an_image_deletes_its_items(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.images WHERE image_id = %s", [image_ids[0]])
        assert states(connection, model_id) == {"queued": 9}
        assert items.load_items(connection, uuid4(), [1]) == []
