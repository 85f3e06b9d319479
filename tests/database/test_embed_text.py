"""`siglip.embed_text`: SQL that waits for a worker in the middle of a statement. A thread stands in for the worker."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from siglip_ingest.db import Database
from siglip_ingest.db.text_requests import TextRequest, read_locks
from siglip_ingest.errors import DatabaseError, WorkerUnavailableError
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
            "SELECT image_id FROM siglip.image_embeddings JOIN siglip.images USING (content_hash)"
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


def test_without_a_worker_the_error_comes_at_once_and_says_what_to_do(database: Database, image_ids: list[int]) -> None:
    with pytest.raises(WorkerUnavailableError, match=r"no worker of the model fake listens.*Start a worker"):
        ask(database, before="SET LOCAL siglip.embed_timeout_s = '86400'")


def test_when_the_last_worker_ends_the_asker_is_told(database: Database, image_ids: list[int]) -> None:
    with ThreadPoolExecutor(1) as pool:
        with listening(database, is_mute=True) as listener:
            asked = pool.submit(ask, database, before="SET LOCAL siglip.embed_timeout_s = '86400'")
            wait_until(lambda: listener.asked)
        with pytest.raises(WorkerUnavailableError, match="The last worker of the model fake ended"):
            asked.result(120)


def test_another_worker_answers_the_question_of_one_that_ends(database: Database, image_ids: list[int]) -> None:
    with ThreadPoolExecutor(1) as pool, listening(database, is_mute=True) as first:
        asked = pool.submit(ask, database, before="SET LOCAL siglip.embed_timeout_s = '86400'")
        wait_until(lambda: first.asked)
        first.stop()
        with listening(database) as second:
            assert len(asked.result(120)) == 3
        assert second.asked == first.asked


def test_a_text_for_another_model_is_not_read(database: Database, model_id: int, image_ids: list[int]) -> None:
    with listening(database, model_id) as listener, listening(database, model_id + 1) as other:
        assert len(ask(database)) == 3
    assert len(listener.asked) == 1
    assert other.asked == []


def test_a_hundred_sessions_with_one_text_ask_once(database: Database, image_ids: list[int]) -> None:
    barrier = threading.Barrier(100)

    def ask_with_others(_: int) -> int:
        with database.session() as connection:
            barrier.wait(60)
            return len(connection.execute(SEARCH, ["the very same text"]).fetchall())

    with listening(database) as listener, ThreadPoolExecutor(100) as pool:
        assert list(pool.map(ask_with_others, range(100))) == [3] * 100
    assert [request.query for request in listener.asked] == ["the very same text"]


def test_a_read_only_transaction_asks_too(database: Database, image_ids: list[int]) -> None:
    with listening(database):
        assert len(ask(database, "read only", before="SET TRANSACTION READ ONLY")) == 3


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        pytest.param("x" * 1200, "x" * 1200, id="as long as fits"),
        pytest.param("x" * 1201, "x" * 1200, id="one longer"),
        pytest.param("ä" * 700, "ä" * 600, id="two bytes a character"),
        pytest.param("x" + "€" * 500, "x" + "€" * 399, id="three bytes, cut in the middle"),
        pytest.param("🌅" * 1_000_000, "🌅" * 300, id="four million bytes"),
    ],
)
def test_a_long_text_is_cut_to_whole_characters_and_marked(
    database: Database, image_ids: list[int], query: str, sent: str
) -> None:
    with listening(database) as listener:
        assert len(ask(database, query)) == 3
        assert len(ask(database, query)) == 3
    assert listener.asked == [TextRequest(sent, is_cut=sent != query)]
    with database.connection() as connection:
        assert connection.execute("SELECT query FROM siglip.texts").fetchall() == [(sent,)]


def test_no_lock_is_left_with_or_without_an_answer(database: Database, image_ids: list[int]) -> None:
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
    with listening(database), database.connection() as connection:
        connection.execute(SEARCH, ["answered"])
        assert connection.execute(locks).fetchone() == (0,)
    with listening(database, is_mute=True), database.session() as connection:
        connection.execute("SET siglip.embed_timeout_s = '0.05'")
        with pytest.raises(psycopg.Error, match="No worker embedded"):
            connection.execute(SEARCH, ["not answered"])
        assert connection.execute(locks).fetchone() == (0,)


def test_the_cache_stays_small_whoever_writes_to_it(database: Database, model_id: int) -> None:
    """No worker runs that could tidy up. Old rows are forgotten by chance, with about each 128th one that is added."""
    with database.connection() as connection:
        connection.execute("SET LOCAL siglip.max_cached_texts = '50'")
        connection.execute(
            "INSERT INTO siglip.texts (model_id, query, refusal) SELECT %s, 'text ' || n, 'x'"
            " FROM generate_series(1, 10000) AS n",
            [model_id],
        )
        row = connection.execute("SELECT count(*) FROM siglip.texts").fetchone()
    assert row is not None
    assert int(str(row[0])) < 50 + 4000  # that none of 4,000 rows brings it about is a chance of 1 in 10^13


def test_a_row_of_the_cache_that_is_too_long_is_refused(database: Database, model_id: int) -> None:
    with pytest.raises(DatabaseError, match="texts_query_check"), database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.texts (model_id, query, refusal) VALUES (%s, repeat('x', 1201), 'x')", [model_id]
        )


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([], id="none"),
        pytest.param([ord("Z") << 56 | 1 << 16 | 6], id="no text"),
        pytest.param([ord("Z") << 56 | 2 << 16 | 6, ord("Z") << 56 | 1 << 48 | 1], id="another model"),
        pytest.param([ord("Z") << 56 | 1 << 16 | 12, ord("Z") << 56 | 1 << 48 | 1], id="half of it"),
        pytest.param([ord("Z") << 56 | 1 << 16 | 6, ord("Z") << 56 | 2 << 48 | 1], id="another part"),
        pytest.param([ord("Z") << 56 | 1 << 16 | 6, ord("Z") << 56 | 1 << 48 | 0xFFFFFFFFFFFF], id="no UTF-8"),
        pytest.param([ord("Z") << 56 | 1 << 16], id="empty"),
        pytest.param([1, 2, 3], id="somebody else's"),
    ],
)
def test_locks_that_are_no_text_are_not_read(keys: list[int]) -> None:
    assert read_locks(1, keys) is None


def test_a_worker_that_never_answers_is_waited_for_as_long_as_was_set(database: Database, image_ids: list[int]) -> None:
    with listening(database, is_mute=True), database.session() as connection:
        connection.execute("SET siglip.embed_timeout_s = '0.5'")
        started = time.monotonic()
        with pytest.raises(psycopg.Error, match=r"No worker embedded the text within 0\.5 s") as caught:
            connection.execute(SEARCH, ["cat"])
    assert 0.5 <= time.monotonic() - started < 5
    assert caught.value.sqlstate == "SIG01"
    assert "siglip.embed_timeout_s" in str(caught.value.diag.message_hint)


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
    from siglip_ingest import search

    matches = search.search_by_text(database, make_fake, "dog", limit=3)
    with database.connection() as connection:
        rows = connection.execute(SEARCH, ["dog"]).fetchall()
    assert [match.image_id for match in matches] == [image_id for (image_id,) in rows]
