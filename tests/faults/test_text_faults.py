"""Workers that die between a text's question and its answer, and servers that are restarted meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from siglip_ingest.db import Database
from tests.programs import wait_until
from tests.servers import PostgresServer
from tests.workers.conftest import database, model_id, start_worker
from tests.workers.helpers import WorkerProcess, fetch_all, load_tiny_embedder, register_checkpoint
from tests.workers.listeners import count_askers, wait_until_heard

__all__ = ["database", "model_id", "start_worker"]  # fixtures

pytestmark = pytest.mark.faults

StartWorker = Callable[..., WorkerProcess]


@contextmanager
def asking(database: Database, url: str, queries: list[str]) -> Iterator[list[Future[Any]]]:
    """Ask texts in a session each; the block starts when all of them wait."""

    def ask(query: str) -> Any:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SET siglip.embed_timeout_s = '60'")
            row = connection.execute("SELECT siglip.embed_text(%s)::real[]", [query]).fetchone()
        assert row is not None
        return row[0]

    with ThreadPoolExecutor(len(queries)) as threads, database.session() as connection:
        asked = [threads.submit(ask, query) for query in queries]
        wait_until(lambda: count_askers(connection) == len(queries))
        yield asked


def test_another_worker_answers_for_one_that_is_killed(
    database: Database, database_url: str, model_id: int, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    elected, other = start_worker(), start_worker()
    os.kill(elected.pid, signal.SIGSTOP)  # it doesn't come to answer
    queries = [f"boat {number}" for number in range(5)]
    with asking(database, database_url, queries) as asked:
        assert fetch_all(database, "SELECT count(*) FROM siglip.texts") == [(0,)], "the other stands by"
        elected.kill()
        answers = [future.result(60) for future in asked]
    np.testing.assert_allclose(answers, load_tiny_embedder(tiny_checkpoint).embed_texts(queries), atol=1e-3)
    assert other.is_running


def test_without_another_worker_who_waits_is_told(
    database: Database, database_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker()
    os.kill(worker.pid, signal.SIGSTOP)
    with asking(database, database_url, ["boat"]) as (asked,):
        worker.kill()
        with pytest.raises(
            psycopg.Error, match=r"last worker of the model .* ended before it embedded the text"
        ) as caught:
            asked.result(60)
    assert caught.value.sqlstate == "SIG01"
    assert "Start a worker" in str(caught.value.diag.message_hint)


def test_a_worker_that_is_asked_to_stop_hands_over_too(
    database: Database, database_url: str, model_id: int, start_worker: StartWorker
) -> None:
    first, _ = start_worker(), start_worker()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(60):
            if number == 20:
                first.terminate()
            connection.execute("SELECT siglip.embed_text(%s)", [f"boat {number}"])
    assert first.wait() == 0
    assert fetch_all(database, "SELECT count(*) FROM siglip.texts") == [(60,)]


def test_a_worker_goes_on_after_a_restart_of_postgresql(
    postgres_16: PostgresServer, postgres_16_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    with Database(postgres_16_url) as database:
        model_id = register_checkpoint(database, tiny_checkpoint)
        worker = start_worker(database_url=postgres_16_url)
        for number in range(2):
            with psycopg.connect(postgres_16_url) as connection:
                connection.execute("SELECT siglip.embed_text(%s)", [f"boat {number}"])
            postgres_16.stop()
            postgres_16.start()
            wait_until_heard(database, model_id)
        with psycopg.connect(postgres_16_url) as connection:
            connection.execute("SELECT siglip.embed_text('the last boat')")
            assert connection.execute("SELECT count(*) FROM siglip.texts").fetchone() == (3,)
    assert worker.is_running
    assert "Traceback" not in worker.log
