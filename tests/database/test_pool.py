"""The connection pool, and how psycopg's errors are mapped."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
import pytest

from siglip_ingest.db import Database, models
from siglip_ingest.db.connection import pool
from siglip_ingest.db.connection.errors import connect_error
from siglip_ingest.db.schema import check_schema
from siglip_ingest.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailableError,
    SchemaVersionError,
)
from tests.conftest import replace_database
from tests.wire import wire


def _with(url: str, *, user: str | None = None, password: str | None = None, port: int | None = None) -> str:
    parts = urlsplit(url)
    user, password = quote(user or parts.username or ""), quote(password or parts.password or "")
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{port or parts.port}"))


def _error_of(url: str) -> Exception:
    with Database(url) as database, pytest.raises(DatabaseError) as caught, database.connection():
        pass
    return caught.value


def _check_hides(error: BaseException | None, password: str) -> None:
    while error is not None:
        assert password not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_nothing_is_opened_before_it_is_needed() -> None:
    with Database("postgresql://nobody:secret@127.0.0.1:1/nothing") as database:
        assert repr(database) == "Database(127.0.0.1:1/nothing)"


def test_a_wrong_password_is_named_and_not_shown(database_url: str) -> None:
    error = _error_of(_with(database_url, password="wr0ng-secret"))
    assert "refused the password" in str(error)
    assert "SIGLIP_DATABASE_URL" in str(error)
    assert not isinstance(error, DatabaseUnavailableError)
    _check_hides(error, "wr0ng-secret")


def test_a_missing_database_is_named(database_url: str) -> None:
    error = _error_of(replace_database(database_url, "nowhere"))
    assert "no database 'nowhere'" in str(error)
    assert "CREATE DATABASE nowhere" in str(error)


def test_a_server_that_is_down_is_named(database_url: str) -> None:
    error = _error_of(_with(database_url, port=1))
    assert isinstance(error, DatabaseUnavailableError)
    assert error.is_retryable
    assert "No PostgreSQL answered at 127.0.0.1:1/" in str(error)
    assert "Connection refused. Is the server running" in str(error)
    assert str(error).endswith("connections? Start it, or correct SIGLIP_DATABASE_URL.")
    _check_hides(error, urlsplit(database_url).password or "?")


def test_an_unknown_role_is_refused(database_url: str) -> None:
    assert "'nobody'" in str(_error_of(_with(database_url, user="nobody")))


@pytest.mark.parametrize(
    "url",
    ["", " ", "postgresql://me:s3cret@host:port:port/x?nonsense=1", "me:s3cret@host", "postgres//me:s3cret@host/x"],
    ids=["empty", "blank", "unknown option", "no scheme", "no colon"],
)
def test_a_url_that_can_t_be_read_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host") as caught:
        Database(url)
    _check_hides(caught.value, "s3cret")


def test_a_database_without_our_schema_says_to_migrate(empty_database_url: str) -> None:
    with Database(empty_database_url) as database:
        with pytest.raises(SchemaVersionError, match=r"no schema siglip yet.*siglip-ingest migrate"):
            check_schema(database)
        with pytest.raises(SchemaVersionError, match="siglip-ingest migrate"), database.connection() as connection:
            connection.execute("SELECT * FROM siglip.search_images('cat')")


@pytest.mark.parametrize(
    ("revision", "sentence"),
    [
        ("0001", "is at revision 0001, and .* is needed. Run `siglip-ingest migrate`"),
        ("9999", "is newer than .*Upgrade siglip-ingest here"),
        (None, "is at revision base"),
    ],
    ids=["behind", "ahead", "base"],
)
def test_a_schema_that_is_not_the_needed_one_says_what_to_do(
    database_url: str, revision: str | None, sentence: str
) -> None:
    with Database(database_url) as database:
        check_schema(database)
        with database.connection() as connection:
            connection.execute("DELETE FROM siglip.alembic_version")
            if revision is not None:
                connection.execute("INSERT INTO siglip.alembic_version VALUES (%s)", [revision])
        with pytest.raises(SchemaVersionError, match=sentence):
            check_schema(database)


def test_a_block_is_one_transaction(database_url: str) -> None:
    def insert(then: str) -> None:
        with database.connection() as connection:
            connection.execute("INSERT INTO siglip.models (name) VALUES ('a')")
            connection.execute(then.encode())

    def count() -> object:
        with database.connection() as connection:
            return connection.execute("SELECT count(*) FROM siglip.models").fetchone()

    with Database(database_url) as database:
        with pytest.raises(DatabaseError):
            insert("SELECT 1 / 0")
        assert count() == (0,)
        insert("SELECT 1")
        assert count() == (1,)


def test_a_refused_statement_is_a_database_error_with_its_cause(database_url: str) -> None:
    with Database(database_url) as database:
        with pytest.raises(DatabaseError, match="division by zero") as caught, database.connection() as connection:
            connection.execute("SELECT 1 / 0")
        assert isinstance(caught.value.__cause__, psycopg.errors.DivisionByZero)
        with database.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_threads_share_a_few_connections(database_url: str) -> None:
    barrier = threading.Barrier(4)

    def work(_: int) -> object:
        with database.connection() as connection:
            barrier.wait(30)
            return connection.execute("SELECT pg_backend_pid()").fetchone()

    with Database(database_url, max_connections=4) as database, ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(work, range(64)))) == 4


def test_a_caller_that_waits_too_long_is_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "POOL_TIMEOUT_S", 0.2)
    monkeypatch.setattr(pool, "PROBE_AFTER_S", 0.2)
    with (
        Database(database_url, max_connections=1) as database,
        database.connection(),
        pytest.raises(DatabaseUnavailableError, match="All 1 connections"),
        database.connection(),
    ):
        pass


def test_a_pool_that_is_exhausted_opens_no_more_connections(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "POOL_TIMEOUT_S", 0.3)
    monkeypatch.setattr(pool, "PROBE_AFTER_S", 0.02)  # it looks fifteen times why it waits
    with (
        wire(database_url) as line,
        Database(line.url, max_connections=2) as database,
        database.connection(),
        database.connection(),
    ):
        before = line.connections
        with pytest.raises(DatabaseUnavailableError, match=r"All 2 connections to .* were busy .* fewer threads"):
            database.connection().__enter__()
        with pytest.raises(DatabaseUnavailableError, match="All 2 connections"):
            database.fetch(models.SQL.list_models)
        assert line.connections == before


@pytest.fixture
def limited_url(database_url: str) -> Iterator[str]:
    """URL of a role that may have two connections at a time."""
    role = f"siglip_limited_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x1' CONNECTION LIMIT 2".encode())
        yield _with(database_url, user=role, password="x1")
        connection.execute(f"DROP ROLE {role}".encode())


def test_a_server_that_takes_no_more_connections_is_not_said_to_be_down(limited_url: str) -> None:
    with psycopg.connect(limited_url), psycopg.connect(limited_url):
        error = _error_of(limited_url)
    assert isinstance(error, DatabaseUnavailableError)
    assert "takes no more connections: " in str(error)
    assert "Close some, or raise its max_connections." in str(error)
    assert "answered" not in str(error)


def test_a_caller_waits_for_a_server_that_takes_no_more_connections_for_now(
    limited_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PROBE_AFTER_S", 0.05)

    def ask() -> object:
        with database.connection() as connection:
            return connection.execute("SELECT 1").fetchone()

    with Database(limited_url) as database, ThreadPoolExecutor(2) as threads, psycopg.connect(limited_url):
        with database.connection():
            waiting = threads.submit(ask)
            with pytest.raises(TimeoutError):
                waiting.result(0.3)
        assert waiting.result(60) == (1,)


@pytest.mark.parametrize(
    "reason",
    [
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'FATAL:  too many connections for database "app"',
        "FATAL:  no more connections allowed (max_client_conn)",
    ],
)
def test_too_many_clients_has_a_sentence_of_its_own(reason: str) -> None:
    error = connect_error(psycopg.OperationalError(f"connection failed: {reason}"), {"host": "db", "dbname": "app"})
    assert isinstance(error, DatabaseUnavailableError)
    assert str(error).startswith("PostgreSQL at db:5432/app takes no more connections: ")


@pytest.mark.parametrize(
    ("statement", "is_retryable"),
    [
        ("SELECT * FROM siglip.images", False),
        ("SELECT nothing FROM siglip.models", False),
        ("SELECT siglip.no_such_function()", False),
        ("SELECT 1 / 0", False),
        ("SELECT FROM", False),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53300'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P03'; END $$", True),
    ],
    ids=[
        "no rights",
        "a missing column",
        "a missing function",
        "wrong data",
        "wrong syntax",
        "a deadlock",
        "too many connections",
        "a server that starts",
    ],
)
def test_only_what_may_pass_is_worth_a_retry(
    database_url: str, limited_url: str, statement: str, is_retryable: bool
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        role = str(urlsplit(limited_url).username)
        connection.execute(f"GRANT USAGE ON SCHEMA siglip TO {role}".encode())
        connection.execute(f"GRANT SELECT ON siglip.models TO {role}".encode())
        with (
            Database(limited_url) as database,
            pytest.raises(DatabaseError) as caught,
            database.connection() as reader,
        ):
            reader.execute(statement.encode())
        connection.execute(f"DROP OWNED BY {role}".encode())
    assert caught.value.is_retryable is is_retryable


def test_connections_that_the_server_ended_are_replaced(database_url: str) -> None:
    terminate = """
        SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
    """
    with Database(database_url) as database:
        with database.connection() as first, database.connection() as second:
            first.execute("SELECT 1")
            second.execute("SELECT 1")
        with psycopg.connect(database_url, autocommit=True) as killer:
            killer.execute(terminate.encode())
        for _ in range(3):
            with database.connection() as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_lost_in_the_middle_is_worth_a_retry(database_url: str) -> None:
    def lose_connection() -> None:
        with database.connection() as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            with psycopg.connect(database_url, autocommit=True) as killer:
                killer.execute("SELECT pg_terminate_backend(%s)", row)
            connection.execute("SELECT 1")

    with Database(database_url) as database:
        with pytest.raises(DatabaseUnavailableError, match="went away"):
            lose_connection()
        with database.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_closed_database_opens_again(database_url: str) -> None:
    database = Database(database_url)
    for _ in range(2):
        with database.connection() as connection:
            connection.execute("SELECT 1")
        database.close()
        database.close()


def test_a_pooler_in_transaction_mode_gets_nothing_that_needs_a_session(database_url: str) -> None:
    with Database(database_url, pooler="transaction") as database:
        assert database.is_pooled
        with database.connection() as connection:
            assert connection.prepare_threshold is None
        with pytest.raises(ConfigurationError, match="SIGLIP_DIRECT_DATABASE_URL"), database.listen("x"):
            pass
    with Database(database_url, pooler="transaction", direct_url=database_url) as database, database.listen("x"):
        pass
    with Database(database_url) as database:
        assert not database.is_pooled
