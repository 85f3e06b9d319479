"""docs/sql.md is what the comments of the schema say, and every function that people call has a topic on it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from tools.sql_page import PAGE, Connection, functions_without_topic, make_page, read_functions
from tools.sql_topics import TOPICS


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url) as connection:
        yield connection


def test_the_page_is_what_the_comments_say(connection: Connection) -> None:
    assert PAGE.read_text(encoding="utf-8") == make_page(connection), "run `make docs`"


def test_every_function_that_nothing_calls_has_a_topic(connection: Connection) -> None:
    assert functions_without_topic(connection) == [], "give them a topic in tools/sql_topics.py"


def test_a_new_function_without_a_topic_is_named(connection: Connection) -> None:
    connection.execute("CREATE FUNCTION siglip.find_castles() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert functions_without_topic(connection) == ["find_castles"]
    connection.execute(
        "CREATE FUNCTION siglip.embed_all() RETURNS integer LANGUAGE sql AS 'SELECT siglip.find_castles()'"
    )
    assert functions_without_topic(connection) == ["embed_all"]


def test_no_function_stands_under_two_topics() -> None:
    names = [name for topic in TOPICS.values() for name in topic]
    assert sorted(names) == sorted(set(names))


def test_the_page_shows_every_function_with_its_example(connection: Connection) -> None:
    page = make_page(connection)
    for function in read_functions(connection):
        assert f"### `siglip.{function.name}`\n" in page
        assert function.comment.partition("\nExample: ")[2] in page
