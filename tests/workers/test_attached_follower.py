"""Attached tables, followed by workers."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from siglip_ingest.db import Database
from siglip_ingest.errors import DatabaseError, DatabaseUnavailableError
from siglip_workers.ingest import attached_follower
from siglip_workers.ingest.attached_follower import AttachedFollower
from tests.database.attached_tables import fetch_one, follow
from tests.programs import wait_until
from tests.workers.helpers import WorkerProcess, count_embeddings, fetch_all, items_by_state, write_images

StartWorker = Callable[..., WorkerProcess]


def attach_photos(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("CREATE TABLE public.photo (id integer PRIMARY KEY, uri text, stars integer)")
        connection.execute("SELECT siglip.attach('public.photo', 'uri', metadata_columns => '{stars}')")


def insert_photos(database: Database, paths: list[Path], first: int = 0) -> None:
    with database.connection() as connection:
        for number, path in enumerate(paths, first):
            connection.execute("INSERT INTO public.photo VALUES (%s, %s)", [number, path.as_uri()])


def found_rows(database: Database) -> list[int]:
    found = fetch_all(
        database,
        "SELECT p.id FROM siglip.search('public.photo', 'a boat', 100) AS s"
        " JOIN public.photo AS p ON p.id = s.row_key::integer ORDER BY p.id",
    )
    return [int(str(row[0])) for row in found]


def test_a_row_that_is_inserted_becomes_searchable(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    paths = write_images(tmp_path / "photos", 4)
    attach_photos(database)
    insert_photos(database, paths[:2])
    start_worker()
    wait_until(lambda: count_embeddings(database) == 2)
    started = time.monotonic()
    insert_photos(database, paths[2:], first=2)
    wait_until(lambda: count_embeddings(database) == 4)
    assert time.monotonic() - started < 10
    assert found_rows(database) == [0, 1, 2, 3]
    with database.connection() as connection:
        connection.execute("DELETE FROM public.photo WHERE id = 1")
        connection.execute("UPDATE public.photo SET stars = 5 WHERE id = 2")
    assert found_rows(database) == [0, 2, 3]  # at once
    wait_until(lambda: count_embeddings(database) == 3)
    wait_until(lambda: fetch_all(database, "SELECT 1 FROM siglip.images WHERE metadata @> '{\"stars\": 5}'") == [(1,)])


def test_a_worker_that_is_started_again_in_the_middle_goes_on(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    paths = write_images(tmp_path / "photos", 60)
    attach_photos(database)
    first = start_worker()
    insert_photos(database, paths[:40])
    wait_until(lambda: count_embeddings(database) > 0)
    first.terminate()
    insert_photos(database, paths[40:], first=40)
    assert first.wait() == 0
    start_worker()
    wait_until(lambda: items_by_state(database) == {"done": 60})
    assert count_embeddings(database) == 60
    assert fetch_all(database, "SELECT count(*) FROM siglip.attached_images") == [(60,)]


def test_it_hears_of_changes_at_once(database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached_follower, "IDLE_S", 60.0)
    attach_photos(database)
    follower = AttachedFollower(database)
    follower.start()
    try:
        insert_photos(database, [Path("/photos/1.jpg")])
        follower.look()
        wait_until(lambda: items_by_state(database) == {"queued": 1}, timeout_s=10)
    finally:
        follower.close()


def test_an_outage_does_not_end_it(database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attached_follower, "IDLE_S", 0.01)
    monkeypatch.setattr(attached_follower, "OUTAGE_PAUSE_S", 0.01)
    attach_photos(database)
    insert_photos(database, [Path("/photos/1.jpg")])
    follower, calls = AttachedFollower(database), []
    real = follower.follow

    def fail_first() -> int:
        calls.append(1)
        if len(calls) < 4:
            raise DatabaseUnavailableError("It is away.")
        return real()

    monkeypatch.setattr(follower, "follow", fail_first)
    follower.start()
    try:
        wait_until(lambda: items_by_state(database) == {"queued": 1}, timeout_s=10)
    finally:
        follower.close()


def test_several_workers_follow_each_change_once(database: Database, model_id: int) -> None:
    attach_photos(database)
    followers = [AttachedFollower(database) for _ in range(3)]
    for follower in followers:
        follower.start()
    try:
        for first in range(0, 60, 20):
            insert_photos(database, [Path(f"/photos/{n}.jpg") for n in range(first, first + 20)], first=first)
            for follower in followers:
                follower.look()
        wait_until(lambda: items_by_state(database) == {"queued": 60}, timeout_s=10)
    finally:
        for follower in followers:
            follower.close()
    with database.session() as session:
        assert follow(session) == 0
        assert fetch_one(session, "SELECT count(*) FROM siglip.attached_images") == 60


def test_a_role_that_may_not_follow_leaves_it_to_others(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    follower = AttachedFollower(database)

    def refuse() -> int:
        raise DatabaseError("permission denied") from psycopg.errors.InsufficientPrivilege()

    monkeypatch.setattr(follower, "follow", refuse)
    follower.run()
    assert "This role may not follow attached tables" in caplog.text
