"""The examples of functions that need another server, each on databases of its own; docs/servers.md is run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

import siglip_migrations
from siglip_ingest.db import Database
from tests.conftest import replace_database
from tests.database.example_database import SERVER_URL, answering, fill_example_database, find_examples, run_example
from tests.documents import snippets_of, statements_of
from tests.servers import PostgresServer

_ON_OTHERS = "SELECT siglip.require_extensions(), siglip.add_server('archive', {})"


@pytest.fixture(scope="module")
def servers(_servers: list[PostgresServer]) -> list[PostgresServer]:
    return _servers


@pytest.fixture(scope="module")
def filled(_servers: list[PostgresServer]) -> Iterator[str]:
    """URL of a filled example database that nobody is connected to; `archive` is added where it is copied."""
    url = replace_database(_servers[0].url, "example")
    _execute(_servers[0], "CREATE DATABASE example")
    siglip_migrations.upgrade(url)
    with Database(url) as database:
        fill_example_database(database)
    yield url
    _execute(_servers[0], "DROP DATABASE example WITH (FORCE)")


def test_what_the_document_says_works(servers: list[PostgresServer], filled: str) -> None:
    (block,) = snippets_of("docs/servers.md", "sql")
    here, there = (replace_database(servers[n].url, "example_copy") for n in (0, 1))
    text = block.text.replace("postgresql://siglip:secret@db2.example:5432/photos?sslmode=require", there)
    text = text.replace("image_embeddings_1_7", "image_embeddings_1_1")
    _execute(servers[0], "CREATE DATABASE example_copy TEMPLATE example")
    _execute(servers[1], "CREATE DATABASE example_copy")
    with psycopg.connect(here, autocommit=True) as connection:
        for statement in statements_of(text):
            assert connection.execute(statement.encode()).description
    for server in servers[:2]:
        _execute(server, "DROP DATABASE example_copy WITH (FORCE)")


def test_every_example_with_a_server_runs(servers: list[PostgresServer], filled: str) -> None:
    failures = []
    with psycopg.connect(filled) as connection:
        examples = [example for example in find_examples(connection) if example.needs_servers]
    assert len(examples) >= 10
    own, archive, second = (replace_database(servers[n].url, "example_copy") for n in (0, 1, 2))
    for example in examples:
        _execute(servers[0], "CREATE DATABASE example_copy TEMPLATE example")
        for server in servers[1:]:
            _execute(server, "CREATE DATABASE example_copy")
        with psycopg.connect(own, autocommit=True) as connection:
            connection.execute(sql.SQL(_ON_OTHERS).format(archive))
        try:
            with Database(own) as database, answering(database):
                comment = example.comment.replace(SERVER_URL, archive if "'archive'" in example.statement else second)
                run_example(own, dataclasses.replace(example, comment=comment))
        except psycopg.Error as error:
            failures.append(f"{example.function}\n    {example.statement}\n    {error}")
        for server in servers:
            _execute(server, "DROP DATABASE example_copy WITH (FORCE)")
    assert not failures, "\n".join(failures)


def _execute(server: PostgresServer, statement: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(statement.encode())
