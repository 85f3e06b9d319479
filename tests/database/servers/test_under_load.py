"""Moving while others search and write, and after sessions and servers were killed in the middle of it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector

from tests.database.helpers import unit_vectors
from tests.database.servers.helpers import Cluster, Session
from tests.programs import wait_until

pytestmark = pytest.mark.slow
QUERY = unit_vectors(1, 64, seed=99)[0]
ROWS = 8000
MOVE = "SELECT siglip.move_segment(%s::regclass, %s)"


@contextmanager
def _repeating(cluster: Cluster, work: Callable[[Session, int], None]) -> Iterator[Future[int]]:
    """Call `work` again and again in a thread with a session of its own; the future gives how often."""
    is_over = threading.Event()

    def repeat() -> int:
        with cluster.connect() as session:
            register_vector(session.connection)
            count = 0
            while not is_over.is_set():
                work(session, count)
                count += 1
                is_over.wait(0.005)  # what moves needs the CPU as well
        return count

    with ThreadPoolExecutor(1) as threads:
        future = threads.submit(repeat)
        try:
            yield future
        finally:
            is_over.set()


def test_nothing_is_lost_or_doubled_while_segments_move(cluster: Cluster) -> None:
    late = list(range(ROWS // 2, ROWS // 2 + 400))  # vectors that arrive in ranges that are being moved
    away = unit_vectors(len(late), 64, seed=5) / 4 - QUERY  # what is written meanwhile is never among the best
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    with cluster.connect() as session:
        segments = session.fill(ROWS, 2, 64)
        session.ask("SELECT siglip.add_server('s1', %s), siglip.add_server('s2', %s)", *cluster.other_urls)
        session.ask("DELETE FROM siglip.image_embeddings WHERE content_id = ANY (%s)", late)
        best = {image_id for image_id, _ in session.search(QUERY)}
        spare = [number for number in range(1, ROWS + 1) if number not in best and number not in late]

        def search(other: Session, _: int) -> None:
            found = [image_id for image_id, _ in other.search(QUERY)]
            assert len(set(found)) == 10
            assert len(best & set(found)) >= 9  # what a graph finds depends on how it was built

        def write_late(other: Session, count: int) -> None:
            place = count % len(late)
            if count < len(late):
                other.add_vectors([late[place]], away[place : place + 1])

        def write_new(other: Session, count: int) -> None:
            if count % 20 == 0:
                other.add_images(away[:5])

        def delete(other: Session, count: int) -> None:
            if count % 10 == 0:
                other.ask("DELETE FROM siglip.image_embeddings WHERE content_id = %s", spare[count // 10])

        with (
            _repeating(cluster, search) as searches,
            _repeating(cluster, write_late) as writes,
            _repeating(cluster, write_new) as loads,
            _repeating(cluster, delete) as deletes,
        ):
            for server in ("s1", "s2", None):
                segments = [session.move(segment, server) for segment in segments]
        assert searches.result() > 10
        assert writes.result() >= 10
        session.maintain()
        written = late[: writes.result()]
        expected = set(range(1, ROWS + 1)) - set(late) | set(written)
        expected |= set(range(ROWS + 1, ROWS + 1 + 5 * ((loads.result() + 19) // 20)))
        expected -= set(spare[: (deletes.result() + 9) // 10])
        assert session.content_ids() == sorted(expected)


# What the session that moves is about to do when it is killed, told by what the other server shows.
STEPS = {
    "registered": "SELECT count(*) > 0 FROM {schema}.tables WHERE NOT is_settled",
    "copying": "SELECT count(*) > 0 FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND n_tup_ins > 1000",
    "indexing": "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE 'DO $do$%%' AND state = 'active'"
    " AND datname = current_database()",
}


@pytest.mark.parametrize("step", [*STEPS, "swapping"])
@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("means", ["terminated", "killed"])
def test_a_move_that_is_killed_leaves_what_was(cluster: Cluster, step: str, way: str, means: str) -> None:
    if way == "back" and step in ("registered", "indexing"):
        pytest.skip("on the way back the other server shows nothing of it")
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        session.ask(
            "CREATE OR REPLACE FUNCTION siglip.exact_below_bytes() RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 0"
        )
        segment = session.fill(ROWS, 1, 64)[0]
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        schema = session.value("SELECT schema_name FROM siglip.segment_servers")
        target = "s1"
        if way == "back":
            segment, target = session.move(segment, "s1"), None
            session.maintain()
        expected = session.content_ids()
        found = session.search(QUERY, 50)

        mover = psycopg.connect(cluster.url, autocommit=True)
        pid = mover.info.backend_pid
        reader = psycopg.connect(cluster.url)
        if step == "swapping":
            reader.execute("SELECT FROM siglip.image_embeddings LIMIT 1")  # its lock keeps the swap waiting
        with ThreadPoolExecutor(1) as threads:
            move = threads.submit(mover.execute, MOVE.encode(), [segment, target])
            if step == "swapping":
                wait = "SELECT wait_event = 'PgSleep' OR wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
                wait_until(lambda: bool(session.value(wait, pid)), timeout_s=60)
            elif way == "there":
                wait_until(lambda: bool(other.value(STEPS[step].format(schema=schema))), timeout_s=60)
            else:
                wait_until(lambda: "FETCH" in str(other.ask("SELECT 1")) or _is_connected(other), timeout_s=60)
            if means == "terminated":
                session.ask("SELECT pg_terminate_backend(%s)", pid)
            else:
                os.kill(pid, signal.SIGKILL)  # the server ends all sessions and recovers
            with pytest.raises(psycopg.OperationalError):
                move.result(timeout=60)
            if means == "killed":
                wait_until(lambda: _is_cut_off(reader), timeout_s=60)  # the server has noticed
        mover.close()
        reader.close()

    wait_until(lambda: _answers(cluster), timeout_s=60)
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        register_vector(session.connection)
        assert session.content_ids() == expected
        assert session.search(QUERY, 50) == found
        wait_until(lambda: not _is_connected(other), timeout_s=60)
        session.maintain()
        tables = "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename <> 'tables'"
        assert other.value(tables, schema) == (1 if way == "back" else 0)
        assert other.value(f"SELECT count(*) FROM {schema}.tables WHERE NOT is_settled") == 0
        segment = session.move(segment, target)
        session.maintain()
        assert session.content_ids() == expected
        assert other.value(tables, schema) == (0 if way == "back" else 1)


def _is_connected(other: Session) -> bool:
    """Whether a session that moves is connected to the other server."""
    return bool(
        other.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND backend_type = 'client backend' AND query NOT LIKE '%%START TRANSACTION%%'"
            " AND application_name = ''"
        )
    )


def _is_cut_off(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return True
    return False


def _answers(cluster: Cluster) -> bool:
    try:
        psycopg.connect(cluster.url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
