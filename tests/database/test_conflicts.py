"""Transactions that meet: none waits for another in a circle, and what was in the way is tried again."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database, images, items, workers
from siglip_ingest.db.connection import database as transactions
from siglip_ingest.errors import AlreadyExistsError, DatabaseConflictError, DatabaseError
from tests.database.helpers import (
    INFO,
    Chunk,
    FakeEmbedder,
    add_model,
    add_worker,
    claim,
    close_claim,
    completed,
    disown_claim,
    failure,
    image_rows,
    index_images,
    make_fake,
    release_claim,
    store_text,
    text_vector,
    try_to_claim,
    unit_vectors,
)
from tests.database.test_switching import wait_for_a_lock

COUNT = 20
ROWS = image_rows(COUNT, source_version="1")


@pytest.fixture
def other_id(database: Database, model_id: int) -> int:
    """A model beside the active one."""
    with database.connection() as connection:
        return add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)


@pytest.fixture
def chunk(database: Database, model_id: int) -> Chunk:
    """Claimed items in no order, of images that lie in the table in the opposite order of their URIs."""
    with database.connection() as connection:
        for row in ROWS[::-1]:
            images.insert_images(connection, [row], model_id)
        connection.execute("DELETE FROM siglip.ingest_items")
        connection.execute(
            "INSERT INTO siglip.ingest_items (image_id, model_id) SELECT image_id, %s FROM siglip.images ORDER BY "
            "mod(7 * image_id + 3, 20)",
            [model_id],
        )
        return claim(connection, model_id)


def _close(connection: Connection, chunk: Chunk, model_id: int) -> None:
    results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(COUNT), strict=True)]
    close_claim(connection, model_id, chunk.lease_token, results)


def _hand_over_changed(connection: Connection, chunk: Chunk, model_id: int) -> None:
    changed = [dataclasses.replace(row, source_version="2") for row in ROWS]
    images.insert_images(connection, random.Random(1).sample(changed, COUNT), model_id)


def _release(connection: Connection, chunk: Chunk, model_id: int) -> None:
    release_claim(connection, chunk.lease_token)


def _release_strays(connection: Connection, chunk: Chunk, model_id: int) -> None:
    row = connection.execute("SELECT DISTINCT worker_id FROM siglip.ingest_items").fetchone()
    assert row is not None
    items.release_strays(connection, row[0], [])  # type: ignore[arg-type]


def _disown(connection: Connection, chunk: Chunk, model_id: int) -> None:
    disown_claim(connection, chunk.lease_token)


def _retry_failed(connection: Connection, chunk: Chunk, model_id: int) -> None:
    items.retry_failed(connection, model_id)


def _move_queued(connection: Connection, chunk: Chunk, model_id: int) -> None:
    items.move_queued(connection, from_model_id=model_id, to_model_id=model_id + 1)


ACTIONS = [_close, _hand_over_changed, _release, _release_strays, _disown, _retry_failed, _move_queued]


def _check_order(database: Database, table: str, order: str, action: Callable[[Connection], None]) -> None:
    """Check that a transaction that waits for the first of its rows holds none of the others."""

    def run() -> None:
        with database.connection() as connection:
            action(connection)

    with ThreadPoolExecutor(1) as thread:
        with database.connection() as holder, database.connection() as another:
            first = f"SELECT * FROM siglip.{table} ORDER BY {order} LIMIT 1 FOR NO KEY UPDATE"
            assert holder.execute(first.encode()).rowcount == 1
            running = thread.submit(run)
            wait_for_a_lock(database)
            rest = f"SELECT * FROM siglip.{table} FOR NO KEY UPDATE SKIP LOCKED"
            assert another.execute(rest.encode()).rowcount == COUNT - 1
            assert not running.done()
        running.result(60)


@pytest.mark.parametrize("action", [_close, _hand_over_changed], ids=lambda action: action.__name__[1:])
def test_images_are_locked_in_the_order_of_their_uris(
    database: Database,
    model_id: int,
    chunk: Chunk,
    action: Callable[[Connection, Chunk, int], None],
) -> None:
    _check_order(database, "images", "collection, uri", lambda connection: action(connection, chunk, model_id))


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__[1:])
def test_items_are_locked_in_the_order_of_their_images(
    database: Database,
    model_id: int,
    other_id: int,
    chunk: Chunk,
    action: Callable[[Connection, Chunk, int], None],
) -> None:
    state = {_retry_failed: "failed", _move_queued: "queued"}.get(action)
    if state is not None:
        with database.connection() as connection:
            connection.execute(
                "UPDATE siglip.ingest_items SET state = %s, lease_token = NULL, worker_id = NULL, error_code = CASE "
                "WHEN %s = 'failed' THEN 'x' END, error_message = CASE WHEN %s = 'failed' THEN 'x' END",
                [state, state, state],
            )
    _check_order(database, "ingest_items", "image_id, model_id", lambda connection: action(connection, chunk, model_id))


def test_what_is_looked_for_as_lost_waits_for_nobody(database: Database, model_id: int, chunk: Chunk) -> None:
    with database.connection() as holder, database.connection() as connection:
        holder.execute("SELECT FROM siglip.ingest_items WHERE image_id = 1 FOR UPDATE")
        connection.execute("DELETE FROM siglip.workers")
        connection.execute("SET LOCAL lock_timeout = '2s'")
        assert workers.requeue_lost(connection, 3).requeued == COUNT - 1


def test_all_that_changes_the_ledger_at_once_never_waits_in_a_circle(  # noqa: C901  # five kinds of callers
    database: Database, database_url: str, model_id: int, other_id: int
) -> None:
    rows = image_rows(60, source_version="0")
    with database.connection() as connection:
        images.insert_images(connection, rows, model_id)
    barrier = threading.Barrier(8)

    def hand_over(caller: int, turn: int) -> None:
        choice = random.Random(100 * caller + turn)
        changed = [dataclasses.replace(row, source_version=f"{caller} {turn}") for row in choice.sample(rows, 40)]
        with database.connection() as connection:
            images.insert_images(connection, changed, [model_id, other_id][turn % 2])

    def embed(caller: int, turn: int) -> None:
        chosen = [model_id, other_id][turn % 2]
        with database.connection() as connection:
            chunk = try_to_claim(connection, chosen, 20)
        if chunk is None:
            return
        few, rest = chunk.items[:10:-1], chunk.items[10::-1]
        failed = [failure(item, "fetch_failed", "503", pause_s=None) for item in rest[:4]]
        with database.connection() as connection:
            results = [completed(item, unit_vectors(1)[0], item.image_id % 7) for item in [*few, *rest[4:]]]
            close_claim(connection, chosen, chunk.lease_token, results, failed)

    def let_go(caller: int, turn: int) -> None:
        with database.connection() as connection:
            worker_id = add_worker(connection, model_id)
            chunk = try_to_claim(connection, model_id, 30, worker_id=worker_id)
        if chunk is None:
            return
        with database.connection() as connection:
            if turn % 3 == 0:
                release_claim(connection, chunk.lease_token)
            elif turn % 3 == 1:
                items.release_strays(connection, worker_id, [])
            else:
                disown_claim(connection, chunk.lease_token)

    def tidy(caller: int, turn: int) -> None:
        chosen = [model_id, other_id][turn // 2 % 2]
        with database.connection() as connection:
            workers.requeue_lost(connection, 2)
        with database.connection() as connection:
            items.retry_failed(connection, chosen)
            items.queue_missing(connection, chosen)

    def repeat(caller: int, action: Callable[[int, int], None]) -> None:
        barrier.wait(30)
        for turn in range(30):
            action(caller, turn)

    actions = [hand_over, hand_over, hand_over, embed, embed, let_go, let_go, tidy]
    with ThreadPoolExecutor(len(actions)) as threads:
        for done in [threads.submit(repeat, caller, action) for caller, action in enumerate(actions)]:
            done.result(240)
    database.close()  # what a session counted is known once it has ended
    with psycopg.connect(database_url) as connection:
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert connection.execute(deadlocks).fetchone() == (0,)


def _lock_all(connection: Connection, image_ids: list[int]) -> None:
    connection.execute("SET LOCAL deadlock_timeout = '20ms'")
    for image_id in image_ids:
        connection.execute("SELECT FROM siglip.images WHERE image_id = %s FOR UPDATE", [image_id])


def test_of_two_that_wait_in_a_circle_one_is_tried_again(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        image_ids = images.insert_images(connection, image_rows(2), model_id).image_ids
    barrier = threading.Barrier(2)
    attempts = [0, 0]

    def lock(caller: int) -> None:
        def action(connection: Connection) -> None:
            attempts[caller] += 1
            turned = image_ids[:: 1 if caller else -1]
            _lock_all(connection, turned[:1])
            if attempts[caller] == 1:
                barrier.wait(30)
            _lock_all(connection, turned[1:])

        database.transact(action)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lock, range(2)))
    assert sorted(attempts) == [1, 2]


@pytest.mark.parametrize(
    "settings",
    ["SET LOCAL lock_timeout = '20ms'", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    ids=["a lock that is not free in time", "a serialization failure"],
)
def test_what_another_transaction_prevented_may_be_tried_again(
    database: Database, model_id: int, settings: str
) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1), model_id)
    update = "UPDATE siglip.images SET key = 'x'"

    def meet() -> None:
        with database.connection() as connection:
            connection.execute(settings.encode())
            connection.execute("SELECT FROM siglip.images")
            with database.connection() as holder:
                holder.execute(update)
                if "lock" in settings:
                    connection.execute(update)
            connection.execute(update)

    with pytest.raises(DatabaseConflictError, match=r"Another transaction was in the way: .* Try again") as caught:
        meet()
    assert caught.value.is_retryable


def test_a_transaction_is_repeated_until_nothing_is_in_the_way(
    database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transactions, "FIRST_CONFLICT_PAUSE_S", 0.0)
    attempts = []

    def succeed_at_third(connection: Connection) -> str:
        attempts.append(
            images.insert_images(connection, image_rows(1, collection=f"{len(attempts)}"), model_id).image_ids
        )
        if len(attempts) < 3:
            raise psycopg.errors.DeadlockDetected("deadlock detected")
        return "done"

    assert database.transact(succeed_at_third) == "done"
    with database.connection() as connection:  # what was tried in vain is undone
        assert connection.execute("SELECT collection FROM siglip.images").fetchall() == [("2",)]


@pytest.mark.parametrize(
    ("error", "expected", "attempts"),
    [
        (psycopg.errors.DeadlockDetected("deadlock detected"), DatabaseConflictError, transactions.CONFLICT_ATTEMPTS),
        (psycopg.errors.DivisionByZero("division by zero"), DatabaseError, 1),
    ],
    ids=["a lasting conflict", "another error"],
)
def test_a_lasting_conflict_surfaces_and_other_errors_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception], attempts: int
) -> None:
    monkeypatch.setattr(transactions, "FIRST_CONFLICT_PAUSE_S", 0.0)
    made = []

    def fail(connection: Connection) -> None:
        made.append(1)
        raise error

    with pytest.raises(expected) as caught:
        database.transact(fail)
    assert type(caught.value) is expected
    assert len(made) == attempts


def test_a_search_does_not_wait_to_note_that_its_text_was_used(database: Database, model_id: int) -> None:
    image_ids = index_images(database, model_id, unit_vectors(3))
    with database.connection() as connection:
        store_text(connection, model_id, "cat")
        connection.execute("UPDATE siglip.texts SET last_used_at = now() - interval '3 days'")
    with database.connection() as holder, database.connection() as connection:
        holder.execute("SELECT FROM siglip.texts FOR UPDATE")
        connection.execute("SET LOCAL lock_timeout = '1s'")
        for statement in (
            "SELECT image_id FROM siglip.search_images('cat')",
            "SELECT image_id FROM siglip.search_cached_text('cat', 10, NULL, NULL, NULL, NULL, 0, NULL)",
        ):
            assert len(connection.execute(statement.encode()).fetchall()) == len(image_ids)


def test_forgetting_old_texts_does_not_wait_for_those_in_use(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        for query in ("used", "old"):
            store_text(connection, model_id, query)
        connection.execute("UPDATE siglip.texts SET last_used_at = now() - interval '3 days'")
    with database.connection() as holder, database.connection() as connection:
        holder.execute("SELECT FROM siglip.texts WHERE query = 'used' FOR UPDATE")
        connection.execute("SET LOCAL lock_timeout = '1s'")
        connection.execute("SET LOCAL siglip.max_cached_texts = '1'")
        for number in range(2_000):
            store_text(connection, model_id, f"text {number}")
        found = connection.execute("SELECT query FROM siglip.texts WHERE query IN ('used', 'old')").fetchall()
    assert found == [("used",)]


def test_labels_that_are_deleted_while_they_are_embedded_are_left_out(database: Database, model_id: int) -> None:
    for name in ("pets", "scenes"):
        labeling.create_label_set(database, make_fake, name, ["first", "second"])
    info = dataclasses.replace(INFO, name="other")
    with database.connection() as connection:
        other_id = add_model(connection, info, is_active=False)

    class Slow(FakeEmbedder):
        def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            if not self.calls:
                labeling.delete_label_set(database, "pets")
            return super().embed_texts(texts)

    assert labeling.embed_labels_for_model(database, Slow(info), other_id) == 2
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT v.embedding::real[] FROM siglip.label_embeddings AS v JOIN siglip.labels AS l USING (label_id) "
            "WHERE v.model_id = %s ORDER BY l.position",
            [other_id],
        ).fetchall()
    assert len(rows) == 2
    for (embedding,), label in zip(rows, ["first", "second"], strict=True):
        assert embedding == pytest.approx(text_vector(f"This is a photo of {label}."), abs=1e-3)


def test_two_that_replace_one_label_set_at_once_both_succeed(database: Database, model_id: int) -> None:
    barrier = threading.Barrier(6)
    vocabularies = [[f"label {caller} {n}" for n in range(5)] for caller in range(6)]

    class Meeting(FakeEmbedder):
        def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            barrier.wait(30)
            return super().embed_texts(texts)

    def replace(caller: int) -> None:
        labeling.create_label_set(database, lambda _: Meeting(), "same", vocabularies[caller], replace=True)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(replace, range(6)))
    (row,) = labeling.list_label_sets(database)
    assert row.labels in vocabularies
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.label_embeddings").fetchone() == (5,)


def test_of_two_that_make_one_label_set_at_once_one_is_told_that_it_is_there(database: Database, model_id: int) -> None:
    barrier = threading.Barrier(2)

    class Meeting(FakeEmbedder):
        def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
            barrier.wait(30)
            return super().embed_texts(texts)

    def create(caller: int) -> str:
        try:
            labeling.create_label_set(database, lambda _: Meeting(), "same", [f"label {caller}"])
        except AlreadyExistsError as error:
            return str(error)
        return "made"

    with ThreadPoolExecutor(2) as threads:
        answers = sorted(threads.map(create, range(2)))
    assert answers[0].startswith("There is a label set 'same' already.")
    assert answers[1] == "made"
