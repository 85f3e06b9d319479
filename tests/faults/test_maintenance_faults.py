"""Maintainers that die at each step of their work: the database is as it was before, and the next one ends the work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

import siglip_migrations
from siglip_ingest.db import Database
from tests.conftest import replace_database
from tests.programs import wait_until
from tests.segments import (
    BATCH,
    LOADING,
    add_vectors,
    add_wide_model,
    check_searches,
    check_vectors,
    hold_readers_lock,
    maintain,
    maintain_all,
    shrink_segments,
    states,
)
from tests.servers import PostgresServer

pytestmark = pytest.mark.faults

GATE = 4711  # the advisory lock for which a copy waits in its middle
LARGE = 20_000  # rows: an index of so many takes some seconds to build

# Does one step, as a worker does.
_MAINTAINER = """
import json, sys
from siglip_ingest.db import Database, segments
with Database(sys.argv[1]) as database, database.connection() as connection:
    for name, value in json.loads(sys.argv[2]).items():
        connection.execute("SELECT set_config('siglip.' || %s, %s, true)", [name, value])
    connection.execute("SET application_name = 'maintainer'")
    print(segments.maintain(connection), flush=True)
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as database:
        with database.connection() as connection:
            shrink_segments(connection)
        yield database


def _start_maintainer(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _MAINTAINER, url, json.dumps(LOADING)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _find_maintainer(url: str, condition: str = "true") -> int | None:
    """The process of the maintainer's session on the server, if it is in a certain state."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT a.pid FROM pg_stat_activity AS a WHERE a.datname = current_database()"
            f" AND a.application_name = 'maintainer' AND a.backend_type = 'client backend' AND {condition}".encode()
        ).fetchone()
    return None if row is None else int(row[0])


def _wait_for_maintainer(url: str, condition: str) -> int:
    found: list[int] = []

    def is_found() -> bool:
        pid = _find_maintainer(url, condition)
        if pid is not None:
            found.append(pid)
        return pid is not None

    wait_until(is_found, timeout_s=60)
    return found[0]


def _check(database: Database, model_id: int, vectors: dict[int, Any]) -> None:
    """Every vector is there once, searches are right, and no table is left that is no segment."""
    with database.connection() as connection:
        check_vectors(connection, model_id, vectors)
        lost = connection.execute(
            "SELECT c.relname FROM pg_class AS c WHERE c.relname ~ '^image_embeddings_[0-9]+_[0-9]+$'"
            " AND NOT EXISTS (SELECT FROM siglip.segments AS s WHERE s.segment = c.oid)"
        ).fetchall()
    assert lost == []
    check_searches(database, model_id, vectors)


def _put_gate(connection: psycopg.Connection[Any], content_id: int) -> None:
    """Let whoever copies this content wait for the advisory lock GATE."""
    connection.execute(
        "CREATE FUNCTION public.wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END'".encode()
    )
    connection.execute("ALTER FUNCTION siglip.create_segment(integer) RENAME TO create_segment_without_gate")
    connection.execute(
        f"""
        CREATE FUNCTION siglip.create_segment(model_id integer) RETURNS regclass LANGUAGE plpgsql AS $$
        DECLARE
            segment regclass := siglip.create_segment_without_gate(model_id);
        BEGIN
            EXECUTE format('CREATE TRIGGER gate BEFORE INSERT ON %s FOR EACH ROW WHEN (NEW.content_id = {content_id})'
                           ' EXECUTE FUNCTION public.wait_at_gate()', segment);
            RETURN segment;
        END
        $$
        """.encode()
    )


@contextmanager
def _stopped_at(step: str, database: Database, url: str, model_id: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A maintainer that stands at a step of its work; yields its process and that of its session."""
    if step == "copying":
        with database.connection() as connection:
            _put_gate(connection, BATCH // 2)
    with psycopg.connect(url) as holder:
        if step == "copying":
            holder.execute("SELECT pg_advisory_xact_lock(%s)", [GATE])
            condition = "a.wait_event_type = 'Lock' AND a.wait_event = 'advisory'"
        elif step == "building":
            condition = (
                "EXISTS (SELECT FROM pg_stat_progress_create_index AS i WHERE i.pid = a.pid AND i.blocks_done > 0"
                " AND i.phase = 'building index: loading tuples')"
            )
        else:
            hold_readers_lock(holder, model_id)
            condition = "a.wait_event = 'PgSleep'"
        maintainer = _start_maintainer(url)
        try:
            yield maintainer, _wait_for_maintainer(url, condition)
        finally:
            maintainer.kill()
            maintainer.communicate()


def _kill_client(maintainer: subprocess.Popen[str], url: str, pid: int) -> None:
    os.kill(maintainer.pid, signal.SIGKILL)
    maintainer.communicate(timeout=30)
    assert maintainer.returncode == -signal.SIGKILL


def _end_session(maintainer: subprocess.Popen[str], url: str, pid: int) -> None:
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT pg_terminate_backend(%s)", [pid]).fetchone() == (True,)
    _, said = maintainer.communicate(timeout=60)
    assert maintainer.returncode == 1
    assert "terminating connection" in said


KILLS = pytest.mark.parametrize(
    "kill", [pytest.param(_kill_client, id="client killed"), pytest.param(_end_session, id="session ended")]
)
Kill = Callable[[subprocess.Popen[str], str, int], None]


@KILLS
@pytest.mark.parametrize("step", ["closing", "copying", "building", "swapping"])
def test_a_maintainer_that_dies_at_a_step_leaves_what_was_there(
    database: Database, database_url: str, step: str, kill: Kill
) -> None:
    model_id = add_wide_model(database)
    vectors = add_vectors(database, model_id, LARGE if step == "building" else BATCH)
    before = ["open"]
    if step != "closing":
        assert str(maintain(database)).startswith("Closed")
        before = ["closed", "open"]
    with _stopped_at(step, database, database_url, model_id) as (maintainer, pid):
        kill(maintainer, database_url, pid)
    # The session of a client that was killed ends when it has done what it was asked, and commits nothing.
    wait_until(lambda: _find_maintainer(database_url) is None, timeout_s=120)
    with database.connection() as connection:
        assert states(connection, model_id) == before
    _check(database, model_id, vectors)
    steps = maintain_all(database)
    assert len(steps) == (2 if step == "closing" else 1)
    with database.connection() as connection:
        assert states(connection, model_id) == ["sealed", "open"]
    _check(database, model_id, vectors)


@KILLS
def test_a_maintainer_that_dies_while_it_merges_leaves_the_segments(
    database: Database, database_url: str, kill: Kill
) -> None:
    model_id = add_wide_model(database)
    vectors: dict[int, Any] = {}
    for _ in range(2):
        vectors |= add_vectors(database, model_id)
        maintain(database)  # closes it
    with _stopped_at("swapping", database, database_url, model_id) as (maintainer, pid):
        late = add_vectors(database, model_id, 20)
        gone = sorted(vectors)[::40]
        with database.connection() as connection:
            connection.execute("DELETE FROM siglip.image_embeddings WHERE content_id = ANY (%s)", [gone])
        kill(maintainer, database_url, pid)
    wait_until(lambda: _find_maintainer(database_url) is None, timeout_s=120)
    expected = {key: vector for key, vector in (vectors | late).items() if key not in gone}
    with database.connection() as connection:
        assert states(connection, model_id) == ["closed", "closed", "open"]
    _check(database, model_id, expected)
    maintain_all(database)
    with database.connection() as connection:
        assert states(connection, model_id) == ["sealed", "open"]
    _check(database, model_id, expected)


@KILLS
def test_a_maintainer_that_dies_while_it_removes_contents_removes_none(
    database: Database, database_url: str, kill: Kill
) -> None:
    model_id = add_wide_model(database)
    vectors = add_vectors(database, model_id, 20)
    gone = sorted(vectors)[:5]
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.images WHERE content_id = ANY (%s)", [gone])
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM siglip.image_embeddings WHERE content_id = %s FOR UPDATE", [gone[2]])
        maintainer = _start_maintainer(database_url)
        kill(maintainer, database_url, _wait_for_maintainer(database_url, "a.wait_event_type = 'Lock'"))
    wait_until(lambda: _find_maintainer(database_url) is None, timeout_s=60)
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.contents").fetchone() == (20,)
        check_vectors(connection, model_id, vectors)
    assert maintain_all(database) == ["Removed 5 contents without an image."]
    _check(database, model_id, {key: vector for key, vector in vectors.items() if key not in gone})


@pytest.mark.parametrize("step", ["building", "swapping"])
def test_a_server_that_crashes_in_the_middle_of_a_build_loses_nothing(tmp_path: Path, step: str) -> None:
    server = PostgresServer(tmp_path / "server")
    server.initialise()
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE siglip")
        url = replace_database(server.url, "siglip")
        siglip_migrations.upgrade(url)
        with Database(url) as database:
            with database.connection() as connection:
                shrink_segments(connection)
            model_id = add_wide_model(database)
            vectors = add_vectors(database, model_id, LARGE if step == "building" else BATCH)
            maintain(database)
            # The session that holds the maintainer back ends with the server.
            with suppress(psycopg.OperationalError), _stopped_at(step, database, url, model_id):
                server.crash()
            assert not server.is_running
            server.start()
        with Database(url) as database:
            with database.connection() as connection:
                assert states(connection, model_id) == ["closed", "open"]
            _check(database, model_id, vectors)
            assert len(maintain_all(database)) == 1
            with database.connection() as connection:
                assert states(connection, model_id) == ["sealed", "open"]
            _check(database, model_id, vectors)
    finally:
        server.stop()
