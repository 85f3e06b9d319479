"""`siglip.embed_text`: SQL that waits for a worker in the middle of a statement. A thread stands in for the worker."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from siglip_ingest import search
from siglip_ingest.db import Database
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.db.text_requests import BELL, TextRequest, read_locks, read_text_requests
from siglip_ingest.db.texts import cut_text
from siglip_ingest.errors import DatabaseError, InvalidInputError, WorkerUnavailableError
from tests.database.helpers import index_images, make_fake, store_text, text_vector, unit_vectors
from tests.database.listeners import listening
from tests.programs import wait_until

SEARCH = "SELECT image_id FROM siglip.search_images(%s, 3)"


def ask(database: Database, query: str = "cat", *, before: str = "SELECT 1") -> list[Any]:
    with database.connection() as connection:
        connection.execute(before.encode())
        return connection.execute(SEARCH, [query]).fetchall()


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, unit_vectors(20))


def test_plain_sql_reaches_a_worker(database: Database, model_id: int, image_ids: list[int]) -> None:
    query = "sunset über \"water\" 'at' night 🌙 100% {} \\ :x"
    with listening(database) as listener, database.connection() as connection:
        rows = connection.execute(SEARCH, [query]).fetchall()
    expected = sorted(range(20), key=lambda n: -float(unit_vectors(20)[n] @ text_vector(query)))
    assert [image_id for (image_id,) in rows] == [image_ids[n] for n in expected[:3]]
    assert listener.asked == [TextRequest(query, is_cut=False)]


def test_a_worker_answers_one_query_after_another(database: Database, image_ids: list[int]) -> None:
    queries = [f"query {n}" for n in range(10)]
    with listening(database) as listener, database.connection() as connection:
        assert [len(connection.execute(SEARCH, [query]).fetchall()) for query in queries] == [3] * 10
    assert [request.query for request in listener.asked] == queries


def test_within_a_longer_transaction_too(database: Database, image_ids: list[int]) -> None:
    with listening(database), database.connection() as connection:
        connection.execute("UPDATE siglip.images SET key = 'x'")
        assert len(connection.execute(SEARCH, ["cat"]).fetchall()) == 3
        assert len(connection.execute(SEARCH, ["dog"]).fetchall()) == 3


def test_as_a_sub_select_it_is_asked_once(database: Database, image_ids: list[int]) -> None:
    with listening(database) as listener, database.connection() as connection:
        rows = connection.execute(
            "SELECT image_id FROM siglip.image_embeddings JOIN siglip.images USING (content_id)"
            " ORDER BY embedding <#> (SELECT siglip.embed_text('cat')) LIMIT 5"
        ).fetchall()
    assert len(rows) == 5
    assert len(listener.asked) == 1


def test_many_sessions_ask_at_once(database: Database, image_ids: list[int]) -> None:
    with listening(database), listening(database), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: ask(database, f"query {n % 10}"), range(40)))
    assert [len(rows) for rows in found] == [3] * 40
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.texts").fetchone() == (10,)


def test_a_cached_text_needs_no_worker(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        store_text(connection, model_id, "cat")
    assert len(ask(database)) == 3
    assert len(ask(database, before="SET TRANSACTION READ ONLY")) == 3


def test_the_use_of_a_cached_text_is_noted_once_a_day(database: Database, model_id: int) -> None:
    age = "SELECT now() - last_used_at FROM siglip.texts"
    with database.connection() as connection:
        store_text(connection, model_id, "cat")
        connection.execute("UPDATE siglip.texts SET last_used_at = now() - interval '2 days'")
    with database.connection() as locker, database.connection() as connection:
        locker.execute("SELECT FROM siglip.texts FOR UPDATE")
        connection.execute("SELECT siglip.embed_text('cat')")  # doesn't wait for the lock
    with database.connection() as connection:
        before = connection.execute(age).fetchone()
        connection.execute("SELECT siglip.embed_text('cat')")
        after = connection.execute(age).fetchone()
    assert before is not None
    assert after is not None
    assert before[0].days == 2  # type: ignore[attr-defined]
    assert after[0].days == 0  # type: ignore[attr-defined]


def test_without_a_worker_the_error_comes_at_once(database: Database, image_ids: list[int]) -> None:
    before = "SELECT set_config('siglip.embed_timeout_s', '60', true), set_config('statement_timeout', '1s', true)"
    with pytest.raises(WorkerUnavailableError, match=r"no worker of the model fake listens.*Start a worker"):
        ask(database, before=before)


def test_a_worker_of_another_model_is_none(database: Database, model_id: int, image_ids: list[int]) -> None:
    with listening(database, model_id + 1), pytest.raises(WorkerUnavailableError, match="no worker of the model fake"):
        ask(database)


def test_a_worker_of_another_database_is_none(
    database: Database, empty_database_url: str, model_id: int, image_ids: list[int]
) -> None:
    with (
        Database(empty_database_url) as other,
        listening(other, model_id, is_mute=True),
        pytest.raises(WorkerUnavailableError, match="no worker of the model fake listens to this server"),
    ):
        ask(database)


def test_who_waits_learns_that_the_last_worker_ended(database: Database, model_id: int, image_ids: list[int]) -> None:
    with ThreadPoolExecutor(1) as pool:
        with listening(database, model_id, is_mute=True) as listener:
            asked = pool.submit(ask, database, before="SET LOCAL siglip.embed_timeout_s = '60'")
            wait_until(lambda: listener.asked)
        with pytest.raises(WorkerUnavailableError, match=r"last worker of the model fake ended.*Start a worker"):
            asked.result(30)


def test_a_worker_that_never_answers_is_waited_for_as_long_as_was_set(database: Database, image_ids: list[int]) -> None:
    with listening(database, is_mute=True), database.session() as connection:
        connection.execute("SET siglip.embed_timeout_s = '0.5'")
        started = time.monotonic()
        with pytest.raises(psycopg.Error, match=r"No worker embedded the text within 0\.5 s") as caught:
            connection.execute(SEARCH, ["cat"])
    assert time.monotonic() - started >= 0.5
    assert caught.value.sqlstate == "SIG01"
    assert "siglip.embed_timeout_s" in str(caught.value.diag.message_hint)


def test_a_worker_that_takes_over_a_moment_later_is_in_time(database: Database, image_ids: list[int]) -> None:
    with ThreadPoolExecutor(1) as pool:
        with listening(database, is_mute=True) as listener:
            asked = pool.submit(ask, database)
            wait_until(lambda: listener.asked)
        with listening(database):
            assert len(asked.result(30)) == 3


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_transaction_that_would_never_see_the_answer_fails_at_once(
    database: Database, model_id: int, image_ids: list[int], level: str
) -> None:
    isolation = f"SET TRANSACTION ISOLATION LEVEL {level}"
    with listening(database) as listener:
        with pytest.raises(DatabaseError, match=rf"{level} never sees.*Search in READ COMMITTED"):
            ask(database, before=isolation)
        assert listener.asked == []
    with database.connection() as connection:
        store_text(connection, model_id, "cat")
    assert len(ask(database, before=isolation)) == 3


def test_a_search_that_is_canceled_ends(database: Database, image_ids: list[int]) -> None:
    with listening(database, is_mute=True), pytest.raises(DatabaseError, match="statement timeout"):
        ask(database, before="SET LOCAL statement_timeout = '300ms'")


def test_python_and_sql_share_the_cache(database: Database, image_ids: list[int]) -> None:
    matches = search.search_by_text(database, make_fake, "dog", SearchOptions(limit=3))
    with database.connection() as connection:
        rows = connection.execute(SEARCH, ["dog"]).fetchall()
    assert [match.image_id for match in matches] == [image_id for (image_id,) in rows]


@pytest.mark.parametrize("query", ["", " \t\n", None], ids=["nothing", "blanks", "NULL"])
def test_an_empty_text_is_refused_at_once(database: Database, image_ids: list[int], query: str | None) -> None:
    with pytest.raises(InvalidInputError, match=r"query is empty.*Say in a few words"):
        ask(database, query)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [*range(1, 14), 1199, 1200], ids=lambda size: f"{size} bytes")
def test_a_text_of_any_length_arrives_whole(database: Database, model_id: int, size: int) -> None:
    query = ("\x01é~" * size).encode()[:size].decode(errors="ignore")
    query += "x" * (size - len(query.encode()))
    with listening(database, model_id) as listener, database.connection() as connection:
        connection.execute("SELECT siglip.embed_text(%s)", [query])
    assert listener.asked == [TextRequest(query, is_cut=False)]


def test_what_is_sent_of_a_longer_text_is_said_to_be_cut(database: Database, model_id: int) -> None:
    with listening(database, model_id) as listener, database.connection() as connection:
        connection.execute("SELECT siglip.embed_text(%s)", ["x" * 1201])
    assert listener.asked == [TextRequest("x" * 1200, is_cut=True)]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "cat",
        "x" * 1200,
        "x" * 1201,
        "é" * 600,
        "é" * 601,
        "x" + "é" * 600,
        "月" * 500,
        "x" + "🌙" * 300,
        "xy" + "🌙" * 300,
    ],
    ids=lambda query: f"{query[:3]}... {len(query)}",
)
def test_python_and_sql_cut_alike(database: Database, query: str) -> None:
    with database.connection() as connection:
        assert connection.execute("SELECT siglip.cut_text(%s)", [query]).fetchone() == (cut_text(query),)


def test_whatever_is_written_to_the_cache_is_cut(database: Database, model_id: int) -> None:
    huge = "a cat and a dog " * 90_000
    with database.connection() as connection:
        store_text(connection, model_id, huge)
    search.search_by_text(database, make_fake, "another " + huge)
    with database.connection() as connection:
        rows = connection.execute("SELECT octet_length(query) FROM siglip.texts").fetchall()
        assert rows == [(1200,), (1200,)]
        with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
            connection.execute(
                "INSERT INTO siglip.texts (model_id, query, refusal) VALUES (1, repeat('x', 1201), 'no')"
            )


def test_locks_of_other_programs_are_no_text(database: Database, model_id: int) -> None:
    letter = 90 << 56
    with listening(database, model_id) as listener, database.session() as other:
        for key in (letter | 1, letter | (1 << 48) | 7, (91 << 56) | 5):
            other.execute("SELECT pg_advisory_lock_shared(%s::bigint)", [key])
        other.execute("SELECT pg_advisory_lock_shared(%s, %s)", [BELL, model_id])
        with database.connection() as connection:
            connection.execute("SELECT siglip.embed_text('a cat')")
        assert read_text_requests(other, model_id) == []
    assert [request.query for request in listener.asked] == ["a cat"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a\0b", id="a character that can't be stored"),
        pytest.param(b"x" * 1201, id="longer than is ever sent"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_locks_that_somebody_forged_are_not_read(content: bytes) -> None:
    """Any role may take any lock; it must not be able to disturb who answers the others."""
    padded = content + bytes(-len(content) % 6)
    letter = ord("Z") << 56
    keys = [letter | 1 << 16 | len(content)]
    keys += [
        letter | (index // 6 + 1) << 48 | int.from_bytes(padded[index : index + 6], "big")
        for index in range(0, len(padded), 6)
    ]
    assert read_locks(1, keys) is None
    assert read_locks(1, [letter | 1 << 16 | 1, letter | 1 << 48 | ord("a") << 40]) == TextRequest("a", is_cut=False)
