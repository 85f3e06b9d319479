"""New texts in plain SQL, on every kind of server: `siglip.embed_text` asks, the worker's own listener answers."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest
from psycopg import sql

import siglip_migrations
from siglip_ingest.db import Database, texts
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.search import search_by_text
from tests.database.helpers import FakeEmbedder, add_model, index_images, text_vector, unit_vectors
from tests.programs import wait_until
from tests.servers import PostgresServer
from tests.workers.helpers import WorkerProcess, fetch_all, load_tiny_embedder, register_checkpoint, write_images
from tests.workers.listeners import count_askers, has_listener, listening, wait_until_heard

pytestmark = pytest.mark.slow

StartWorker = Callable[..., WorkerProcess]
ASK = "SELECT siglip.embed_text(%s)::real[]"
LONG = " ".join(f"word{number:03}" for number in range(250))  # 2,000 bytes
BLANKS = "a cat" + " " * 1500 + "and a dog"


@pytest.fixture
def model_id(database: Database) -> int:
    """A model that the listeners' fake device has."""
    with database.connection() as connection:
        return add_model(connection)


def ask(url: str, query: str, *, before: str | None = None) -> np.ndarray[Any, Any]:
    """Ask as any program does, in a session of its own."""
    with psycopg.connect(url) as connection:
        if before is not None:
            connection.execute(before.encode())
        row = connection.execute(ASK, [query]).fetchone()
    assert row is not None
    return np.array(row[0], np.float32)


def check_vector(found: np.ndarray[Any, Any], query: str) -> None:
    np.testing.assert_allclose(found, text_vector(query), atol=1e-3)


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def test_wal_level_replica_is_enough(database: Database, database_url: str, model_id: int) -> None:
    assert setting(database_url, "wal_level") == "replica"
    with listening(database, model_id):
        check_vector(ask(database_url, "a cat"), "a cat")


def test_postgresql_16_will_do(postgres_16_url: str) -> None:
    assert setting(postgres_16_url, "server_version").startswith("16.")
    with Database(postgres_16_url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        image_ids = index_images(database, model_id, unit_vectors(5))
        with listening(database, model_id), database.connection() as connection:
            rows = connection.execute("SELECT image_id FROM siglip.search_images('a cat', 5)").fetchall()
    assert {image_id for (image_id,) in rows} == set(image_ids)


def test_a_listener_outlives_a_restart_of_its_server(postgres_16: PostgresServer, postgres_16_url: str) -> None:
    with Database(postgres_16_url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        with listening(database, model_id):
            ask(postgres_16_url, "before")
            postgres_16.stop()
            postgres_16.start()
            wait_until_heard(database, model_id)
            check_vector(ask(postgres_16_url, "after"), "after")


def test_a_read_only_transaction_asks_too(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id):
        check_vector(ask(database_url, "a cat", before="SET TRANSACTION READ ONLY"), "a cat")


def test_a_role_that_may_only_read_asks_too(database: Database, reader_url: str, model_id: int) -> None:
    with listening(database, model_id):
        check_vector(ask(reader_url, "a cat"), "a cat")


def test_an_asker_may_stand_behind_pgbouncer(database: Database, pooler_url: str, model_id: int) -> None:
    with Database(pooler_url) as pooled:
        assert pooled.is_pooled
    with listening(database, model_id), ThreadPoolExecutor(8) as threads:
        queries = [f"query {number}" for number in range(30)]
        for query, found in zip(queries, threads.map(lambda query: ask(pooler_url, query), queries), strict=True):
            check_vector(found, query)


def test_a_hot_standby_asks_too(database: Database, standby_url: str, model_id: int) -> None:
    with psycopg.connect(standby_url) as connection:
        assert connection.execute("SELECT pg_is_in_recovery()").fetchone() == (True,)
    with Database(standby_url) as standby:
        with standby.session() as connection:
            wait_until(lambda: connection.execute("SELECT FROM siglip.models").fetchone() is not None)
        with listening(database, model_id, server=standby) as device:
            check_vector(ask(standby_url, "a cat"), "a cat")
            check_vector(ask(standby_url, "a cat"), "a cat")
    assert device.texts == ["a cat"]
    assert fetch_all(database, "SELECT query FROM siglip.texts") == [("a cat",)]


def test_a_hundred_sessions_ask_a_hundred_texts(database: Database, database_url: str, model_id: int) -> None:
    queries = [f"query {number}" for number in range(100)]
    with listening(database, model_id) as device:
        answers = ask_at_once(database, database_url, device.gate, queries)
    for query, found in zip(queries, answers, strict=True):
        check_vector(found, query)
    assert sorted(device.texts) == sorted(queries)  # each once
    assert len(device.batches) <= 3, "what waits together is one batch"


def test_a_hundred_sessions_ask_one_text(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id) as device:
        answers = ask_at_once(database, database_url, device.gate, ["a cat"] * 100)
    for found in answers:
        check_vector(found, "a cat")
    assert device.texts == ["a cat"]


def ask_at_once(database: Database, url: str, gate: threading.Event, queries: list[str]) -> list[np.ndarray[Any, Any]]:
    """Ask in one session a query; the device is held back until all of them wait."""
    gate.clear()
    with ThreadPoolExecutor(len(queries)) as threads, database.session() as connection:
        try:
            answers = [threads.submit(ask, url, query) for query in queries]
            wait_until(lambda: count_askers(connection) == len(queries))
        finally:
            gate.set()
        return [answer.result(30) for answer in answers]


def test_no_lock_is_left(database: Database, database_url: str, model_id: int) -> None:
    mine = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    with listening(database, model_id) as device, psycopg.connect(database_url) as connection:
        connection.execute(ASK, ["a cat"])
        assert connection.execute(mine).fetchone() == (0,)
        device.gate.clear()
        connection.execute("SET siglip.embed_timeout_s = '0.1'")
        with pytest.raises(psycopg.Error, match=r"within 0\.1 s"), connection.transaction():
            connection.execute(ASK, ["a dog"])
        assert connection.execute(mine).fetchone() == (0,)


def test_two_listeners_embed_a_text_once(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id) as first, listening(database, model_id) as second:
        for number in range(10):
            ask(database_url, f"query {number}")
        assert sorted(len(device.texts) for device in (first, second)) == [0, 10]


def test_the_one_that_stands_by_takes_over(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id) as first:
        ask(database_url, "a cat")
        with listening(database, model_id) as second:
            ask(database_url, "a dog")
            assert second.texts == []
            end_elected(database)
            # The first one comes back, and now it is the one that stands by.
            wait_until(lambda: count_elected(database) == 1)
            check_vector(ask(database_url, "a boat"), "a boat")
    assert sorted([*first.texts, *second.texts]) == ["a boat", "a cat", "a dog"]


ELECTED = "FROM pg_locks WHERE locktype = 'advisory' AND classid = x'5349474E'::bigint::oid AND granted"


def end_elected(database: Database) -> None:
    assert fetch_all(database, "SELECT pg_terminate_backend(pid) " + ELECTED) == [(True,)]


def count_elected(database: Database) -> object:
    return fetch_all(database, "SELECT count(*) " + ELECTED)[0][0]


def test_a_listener_that_lost_its_connection_is_back_at_once(
    database: Database, database_url: str, model_id: int
) -> None:
    with listening(database, model_id):
        ask(database_url, "a cat")
        end_elected(database)
        wait_until_heard(database, model_id)
        check_vector(ask(database_url, "a dog"), "a dog")


def test_who_waits_is_answered_by_a_listener_that_comes_back(
    database: Database, database_url: str, model_id: int
) -> None:
    with listening(database, model_id) as device, ThreadPoolExecutor(1) as threads:
        device.gate.clear()
        asked = threads.submit(ask, database_url, "a cat")
        wait_until(lambda: device.texts == ["a cat"])
        end_elected(database)
        device.gate.set()
        check_vector(asked.result(30), "a cat")


def test_what_the_model_cannot_read_is_said_and_remembered(
    database: Database, database_url: str, model_id: int
) -> None:
    with listening(database, model_id) as device:
        for _ in range(2):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="The model reads nothing of it"):
                ask(database_url, "???")
    assert device.texts == []
    with pytest.raises(InvalidInputError, match="reads nothing"):
        search_by_text(database, lambda _: FakeEmbedder(), "???")


def test_a_text_that_fails_takes_no_other_with_it(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id) as device, ThreadPoolExecutor(2) as threads, database.session() as connection:
        device.gate.clear()
        bad = threads.submit(ask, database_url, "unembeddable", before="SET siglip.embed_timeout_s = '3'")
        good = threads.submit(ask, database_url, "a cat")
        wait_until(lambda: count_askers(connection) == 2)
        device.gate.set()
        check_vector(good.result(30), "a cat")
        with pytest.raises(psycopg.Error, match="within 3 s"):
            bad.result(30)


def test_a_long_text_is_cut_where_the_model_reads_no_further(
    database: Database, database_url: str, model_id: int
) -> None:
    kept = texts.cut_text(LONG)
    assert len(kept.encode()) == 1200
    with listening(database, model_id) as device:
        check_vector(ask(database_url, LONG), kept)
        check_vector(ask(database_url, LONG + " and more"), kept)
    assert device.texts == [kept]
    assert fetch_all(database, "SELECT octet_length(query), warning FROM siglip.texts") == [
        (1200, "'word000 wo' is not read to its end.")
    ]


def test_a_text_that_does_not_fit_is_refused(database: Database, database_url: str, model_id: int) -> None:
    with (
        listening(database, model_id),
        pytest.raises(psycopg.errors.InvalidParameterValue, match=r"goes on after the first 1,200.*Take blanks"),
    ):
        ask(database_url, BLANKS)


@pytest.mark.parametrize("sign", ["é", "月", "🌙"])
def test_no_character_is_cut_in_two(database: Database, database_url: str, model_id: int, sign: str) -> None:
    query = "x " * 30 + "y" + sign * 700
    kept = texts.cut_text(query)
    with listening(database, model_id) as device:
        check_vector(ask(database_url, query), kept)
    assert device.texts == [kept]
    assert len(kept.encode()) in range(1197, 1201)


def test_a_warning_reaches_a_python_client_as_one(
    database: Database, database_url: str, model_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(database, model_id):
        for _ in range(2):  # from the worker, then from the cache
            search_by_text(database, None, LONG)
    assert [(record.levelname, record.message) for record in caplog.records if "word000" in record.message] == [
        ("WARNING", "'word000 wo' is not read to its end.")
    ] * 2


def test_a_full_lock_table_is_a_sentence(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id), database.session() as hog:
        ask(database_url, "a first text")  # the listener has all the locks that it needs
        with pytest.raises(psycopg.errors.OutOfMemory):
            hog.execute("SELECT count(pg_advisory_lock_shared(1, n)) FROM generate_series(1, 1000000) AS n")
        hog.execute("SELECT count(pg_advisory_unlock_shared(1, n)) FROM generate_series(1, 100) AS n")
        with pytest.raises(psycopg.Error, match="PostgreSQL's lock table is full") as caught:
            ask(database_url, LONG)
        assert caught.value.sqlstate == "53400"
        assert "max_locks_per_transaction" in str(caught.value.diag.message_hint)
        check_vector(ask(database_url, "a cat"), "a cat")  # there is room for a short one
        hog.execute("SELECT pg_advisory_unlock_all()")
        check_vector(ask(database_url, LONG), texts.cut_text(LONG))


def test_a_key_that_is_locked_by_others_is_a_sentence(database: Database, database_url: str, model_id: int) -> None:
    with listening(database, model_id), database.session() as other:
        other.execute("SELECT pg_advisory_lock(x'5349474C'::integer, %s)", [model_id])
        with pytest.raises(psycopg.Error, match="another program holds an advisory lock"):
            ask(database_url, "a cat")


def test_a_worker_without_the_right_to_write_says_so(
    database: Database, database_url: str, reader_url: str, model_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Database(reader_url) as reader, listening(reader, model_id):
        with pytest.raises(psycopg.Error) as caught:
            ask(database_url, "a cat", before="SET siglip.embed_timeout_s = '4'")
        assert caught.value.sqlstate == "SIG01"
        wait_until(lambda: "needs more rights" in caplog.text)


@pytest.fixture
def reader_url(database: Database, database_url: str) -> Iterator[str]:
    """`database_url` as a role that has the two grants of migrations/README.md and no other right."""
    role = f"siglip_reader_{uuid.uuid4().hex[:8]}"
    name = sql.Identifier(role)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x1'").format(name))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(name))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(name))
        parts = urlsplit(database_url)
        yield urlunsplit(parts._replace(netloc=f"{role}:x1@{parts.hostname}:{parts.port}"))
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


# With a worker's process


def test_a_worker_answers_with_pgvector_in_a_schema_of_its_own(
    tmp_path: Path, empty_database_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
    siglip_migrations.upgrade(empty_database_url)
    with Database(empty_database_url) as database:
        model_id = register_checkpoint(database, tiny_checkpoint)
        start_worker(database_url=empty_database_url)
        enqueue_images(database, write_images(tmp_path, 5), model_id=model_id).wait(timeout_s=30)
        with psycopg.connect(empty_database_url) as connection:
            rows = connection.execute("SELECT image_id FROM siglip.search_images('a new text', 5)").fetchall()
    assert len(rows) == 5


def test_a_worker_answers_on_its_standby(
    database: Database, standby_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker(standby_urls=standby_url)
    with Database(standby_url) as standby:
        wait_until_heard(standby, 1)
        loaded = "SELECT FROM siglip.models WHERE is_active AND described_at IS NOT NULL"
        wait_until(lambda: fetch_all(standby, loaded))  # what the worker has written arrives
    found = ask(standby_url, "a red boat")
    local = load_tiny_embedder(tiny_checkpoint).embed_texts(["a red boat"])[0]
    np.testing.assert_allclose(found, local, atol=1e-3)


def test_a_worker_behind_pgbouncer_listens_at_the_server(
    database_url: str, pooler_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker(database_url=pooler_url, direct_database_url=database_url)
    local = load_tiny_embedder(tiny_checkpoint).embed_texts(["a red boat"])[0]
    np.testing.assert_allclose(ask(pooler_url, "a red boat"), local, atol=1e-3)


def test_a_worker_that_only_knows_pgbouncer_says_what_it_needs(pooler_url: str, start_worker: StartWorker) -> None:
    worker = start_worker(database_url=pooler_url)
    wait_until(lambda: "Name it in SIGLIP_DIRECT_DATABASE_URL" in worker.log)
    with pytest.raises(psycopg.Error, match=r"no worker of the model .* listens to this server"):
        ask(pooler_url, "a red boat")


def test_a_worker_reads_past_the_cut_or_says_so(
    database: Database, database_url: str, start_worker: StartWorker
) -> None:
    start_worker()
    with psycopg.connect(database_url, autocommit=True) as connection:
        notices: list[str] = []
        connection.add_notice_handler(lambda diagnostic: notices.append(str(diagnostic.message_primary)))
        connection.execute(ASK, ["a cat " * 100_000])
        assert "but the model reads 16" in notices[0]
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="The text has 1,200 bytes and more"):
            connection.execute(ASK, ["cat" + " " * 2000])
    assert fetch_all(database, "SELECT max(octet_length(query)) FROM siglip.texts") == [(1200,)]


def test_a_listener_is_announced_only_while_it_lives(database: Database, model_id: int) -> None:
    with database.session() as connection:
        connection.execute("SELECT 1")
        with listening(database, model_id):
            assert has_listener(connection, model_id)
            assert not has_listener(connection, model_id + 1)
        wait_until(lambda: not has_listener(connection, model_id))
