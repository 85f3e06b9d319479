"""Connections that have gone silent: cut from this side, ended by the server."""

from __future__ import annotations

import threading
import time

import pytest

from siglip_ingest.db import Database
from siglip_ingest.errors import DatabaseUnavailableError
from siglip_workers import heartbeat
from siglip_workers.heartbeat import Heartbeat, SilenceGuard
from tests.programs import wait_until


def _wait_in_a_query(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("SELECT pg_sleep(60)")


def test_who_waits_for_an_answer_gets_an_error_when_connections_are_cut(database: Database) -> None:
    errors: list[Exception] = []

    def wait() -> None:
        try:
            _wait_in_a_query(database)
        except DatabaseUnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_until(lambda: _count_sleepers(database) == 1)
    database.cut_connections()
    thread.join(10)
    assert len(errors) == 1
    assert errors[0].is_retryable  # type: ignore[attr-defined]
    with database.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def _count_sleepers(database: Database) -> int:
    with database.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)' AND state = 'active'"
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


def _pause_in_a_transaction(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("CREATE TABLE half_done ()")
        time.sleep(1)
        connection.execute("SELECT 1")


def test_the_server_ends_a_transaction_that_waits_for_its_client(database_url: str) -> None:
    with Database(database_url, idle_limit_s=0.2) as database:
        with pytest.raises(DatabaseUnavailableError):
            _pause_in_a_transaction(database)
        with database.connection() as connection:
            assert connection.execute("SELECT to_regclass('half_done')").fetchone() == (None,)


def test_a_sign_of_life_without_an_answer_cuts_the_connections(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "SILENCE_S", 0.5)
    monkeypatch.setattr(heartbeat, "LOOK_S", 0.05)
    beats = []

    def beat() -> None:
        beats.append(time.monotonic())
        if len(beats) == 1:
            _wait_in_a_query(database)

    beating = Heartbeat(beat, 0.1)
    guard = SilenceGuard([database], beating)
    beating.start()
    guard.start()
    wait_until(lambda: len(beats) > 3)
    guard.close()
    beating.close()
    assert 0.4 < beats[1] - beats[0] < 10
    assert caplog.text.count("hasn't answered") == 1
