"""The cache of texts stays small, whichever role writes to it, and keeps only what a model may read of a text."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from siglip_ingest import search
from siglip_ingest.db import Connection, Database, texts
from siglip_ingest.db.connection.vectors import half_vector
from tests.database.helpers import INFO, make_fake, store_text, text_vector

KEPT = 20
# About each 128th row that is added makes the cache forget: after so many the chance that none did is 1 in 10 million.
MANY = 2_100


@pytest.fixture
def small_cache(database: Database, database_url: str, model_id: int) -> int:
    """The model of a database that is set to keep few texts; the setting counts for new connections."""
    name = database_url.rpartition("/")[2]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET siglip.max_cached_texts = {KEPT}".encode())
    database.close()
    return model_id


def count_texts(connection: Connection) -> int:
    row: Any = connection.execute("SELECT count(*) FROM siglip.texts").fetchone()
    return int(row[0])


def insert_rows(connection: Connection, model_id: int) -> None:
    connection.execute(
        "INSERT INTO siglip.texts (model_id, query, embedding) SELECT %s, 'text ' || n, %s FROM "
        "generate_series(1, %s) AS n",
        [model_id, half_vector(text_vector("x")).to_text(), MANY],
    )


def store_twice(connection: Connection, model_id: int) -> None:
    """As two do who embed the same new texts at once."""
    for number in range(MANY):
        for _ in range(2):
            store_text(connection, model_id, f"text {number}")


def search_with_embedded(connection: Connection, model_id: int) -> None:
    vector = half_vector(text_vector("x")).to_text()
    for number in range(MANY):
        connection.execute(
            "SELECT FROM siglip.search_embedded_text(%s, %s, %s, %s, %s, NULL, NULL, 1, NULL, NULL, NULL,"
            " NULL, 0, NULL)",
            [f"text {number}", vector, model_id, INFO.name, INFO.revision],
        )


@pytest.mark.parametrize("write", [insert_rows, store_twice, search_with_embedded], ids=lambda write: write.__name__)
def test_the_cache_is_bounded_wherever_it_is_written(database: Database, small_cache: int, write: Any) -> None:
    with database.connection() as connection:
        write(connection, small_cache)
        assert count_texts(connection) < MANY


def test_a_caller_may_keep_fewer_texts_than_the_database(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        for number in range(MANY):
            answer = texts.EmbeddedText(f"text {number}", text_vector("x"))
            texts.store_texts(connection, model_id, INFO, [answer], max_rows=KEPT)
        assert count_texts(connection) < MANY


def test_texts_used_longest_ago_are_forgotten(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        for age, query in enumerate(["new", "old", "older"]):
            store_text(connection, model_id, query)
            store_text(connection, model_id, query)  # the first one stays
            connection.execute(
                "UPDATE siglip.texts SET last_used_at = now() + interval '1 day' - %s * interval '1 h' "
                "WHERE query = %s",
                [age, query],
            )
        connection.execute("SET LOCAL siglip.max_cached_texts = '1'")
        for number in range(MANY):
            store_text(connection, model_id, f"text {number}")
        found = texts.find_text(connection, model_id, "new")
        assert texts.find_text(connection, model_id, "old") is None
    assert found == pytest.approx(text_vector("new"), abs=1e-3)


def test_one_model_s_texts_do_not_push_out_another_s(database: Database, model_id: int, small_cache: int) -> None:
    with database.connection() as connection:
        store_text(connection, model_id, "mine")
        connection.execute("UPDATE siglip.texts SET last_used_at = '-infinity'")
        connection.execute("INSERT INTO siglip.models (name) VALUES ('other')")
        connection.execute(
            "INSERT INTO siglip.texts (model_id, query, embedding) SELECT 2, 'text ' || n, '[1]' FROM "
            "generate_series(1, %s) AS n",
            [MANY],
        )
        assert texts.find_text(connection, model_id, "mine") is not None


@pytest.mark.parametrize("character", ["a", "é", "北", "🦄"])
@pytest.mark.parametrize("size", [1, 1_198, 1_199, 1_200, 1_201, 5_000])
def test_sql_and_python_cut_a_text_at_the_same_whole_character(database: Database, character: str, size: int) -> None:
    query = "x" * (size % 3) + character * size
    with database.connection() as connection:
        row: Any = connection.execute("SELECT siglip.cut_text(%s)", [query]).fetchone()
    assert row[0] == texts.cut_text(query)
    assert query.startswith(row[0])
    assert len(row[0].encode()) <= texts.MAX_TEXT_BYTES
    assert row[0] == query or len(row[0].encode()) > texts.MAX_TEXT_BYTES - len(character.encode())


def test_a_long_text_is_kept_cut_and_found_by_all_that_goes_on_from_there(database: Database, model_id: int) -> None:
    query = "北" * 5_000
    search.search_by_text(database, make_fake, query)
    with database.connection() as connection:
        sizes = connection.execute("SELECT octet_length(query) FROM siglip.texts").fetchall()
    assert sizes == [(1_200,)]

    def refuse(_: object) -> Any:
        raise AssertionError("the text is in the cache")

    search.search_by_text(database, refuse, query + " and more")


def test_a_longer_text_is_not_written_even_by_hand(database: Database, model_id: int) -> None:
    with database.session() as connection, pytest.raises(psycopg.errors.CheckViolation):
        connection.execute("INSERT INTO siglip.texts (model_id, query, embedding) VALUES (1, repeat('a', 1201), '[1]')")
