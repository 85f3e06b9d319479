"""Adding and removing servers: what is checked, what is prepared, and where a password must not appear."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from siglip_ingest.db import Database
from tests.conftest import replace_database
from tests.database.servers.helpers import Cluster


def test_a_server_is_prepared_and_left_as_it_was(cluster: Cluster) -> None:
    schemas = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'siglip_segments%%'"
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        parts = urlsplit(cluster.other_urls[0])
        address = f"{parts.hostname}:{parts.port}{parts.path}"
        assert session.ask("SELECT * FROM siglip.servers") == [("s1", address, 0, 0, 0, 0, True)]
        assert len(other.ask(schemas)) == 1
        assert other.value("SELECT count(*) FROM pg_extension WHERE extname = 'vector'") == 1
        assert session.maintain() == []
        session.ask("SELECT siglip.remove_server('s1')")
        assert other.ask(schemas) == []
        assert session.ask("SELECT FROM siglip.servers") == session.ask("SELECT FROM pg_foreign_server") == []
        with pytest.raises(psycopg.errors.NoDataFound, match="There is no server s1"):
            session.ask("SELECT siglip.remove_server('s1')")
        with pytest.raises(psycopg.errors.NoDataFound, match="There is no server NULL"):
            session.ask("SELECT siglip.remove_server(NULL)")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(
            "postgresql://u:p%40%3A%2F%25@h:6000/d%20b?sslmode=require&target_session_attrs=read-write",
            {"user": "u", "password": "p@:/%", "host": "h", "port": "6000", "dbname": "d b", "sslmode": "require",
             "target_session_attrs": "read-write"},
            id="escaped",
        ),
        pytest.param(
            "postgres://%C3%A9@h/d", {"user": "é", "host": "h", "port": "5432", "dbname": "d"}, id="no_password",
        ),
        pytest.param(
            "postgresql://u@[::1]:6000,h2/d",
            {"user": "u", "host": "::1,h2", "port": "6000,5432", "dbname": "d"},
            id="several_hosts",
        ),
        pytest.param(
            "postgresql://u:a=b&c@/d?host=/var/run&port=7",
            {"user": "u", "password": "a=b&c", "host": "/var/run", "port": "7", "dbname": "d"},
            id="socket",
        ),
        pytest.param(
            "postgresql://u@%2Ftmp/d", {"user": "u", "host": "/tmp", "port": "5432", "dbname": "d"},
            id="socket_as_host",
        ),
    ],
)  # fmt: skip
def test_a_url_is_read_as_libpq_reads_it(database: Database, url: str, expected: dict[str, str]) -> None:
    with database.connection() as connection:
        rows = connection.execute("SELECT keyword, value FROM siglip.read_server_url(%s)", [url]).fetchall()
    assert dict(rows) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "host=h password=s3cret",
        "postgresql://h/d?password=s3cret",
        "postgresql://u:s3cret@h",
        "postgresql://u:s3c#ret@h/d",
    ],
)
def test_a_url_that_can_t_be_read_is_not_quoted(database: Database, url: str) -> None:
    with (
        database.connection() as connection,
        pytest.raises(psycopg.errors.InvalidParameterValue, match="can't be read") as caught,
    ):
        connection.execute("SELECT siglip.read_server_url(%s)", [url])
    assert "s3c" not in str(caught.value)


def test_the_embedded_postgresql_says_what_it_lacks(database: Database) -> None:
    with database.connection() as connection, pytest.raises(psycopg.errors.FeatureNotSupported) as caught:
        connection.execute("SELECT siglip.add_server('s1', 'postgresql://u:s3cret@h/d')")
    assert "lacks the extension postgres_fdw" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_password_is_in_the_user_mapping_alone(cluster: Cluster) -> None:
    parts = urlsplit(cluster.other_urls[0])
    wrong = urlunsplit(parts._replace(netloc=f"{parts.username}:s3cret@{parts.hostname}:{parts.port}"))
    with cluster.connect() as session:
        for url, words in (
            (wrong, "password authentication failed"),
            (wrong + "?no_such_option=1", "no_such_option"),
            (wrong.replace("127.0.0.1", "127.0.0.1:1,127.0.0.1"), "isn't accepted|doesn't answer"),
        ):
            with pytest.raises(psycopg.Error, match=words) as caught:
                session.ask("SELECT siglip.add_server('s1', %s)", url)
            diagnostics = caught.value.diag
            told = [
                diagnostics.message_primary,
                diagnostics.message_detail,
                diagnostics.message_hint,
                diagnostics.context,
            ]
            assert "s3cret" not in str(told)
            assert session.ask("SELECT FROM siglip.servers") == []
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        assert f"password={parts.password}" in session.value(
            "SELECT umoptions FROM pg_user_mappings WHERE srvname = 's1'"
        )
        assert "password" not in str(session.ask("SELECT * FROM pg_foreign_server")) + str(
            session.ask("SELECT * FROM siglip.servers")
        )


def test_a_name_that_is_there_gets_the_new_address(cluster: Cluster) -> None:
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        name = session.fill(30, 1)[0]
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        session.move(name, "s1")
        other.ask("CREATE ROLE mover LOGIN SUPERUSER PASSWORD 'p@ss'")
        try:
            parts = urlsplit(cluster.other_urls[0])
            url = urlunsplit(
                parts._replace(netloc=f"mover:p%40ss@{parts.hostname}:{parts.port}", query="application_name=images")
            )
            session.ask("SELECT siglip.add_server('s1', %s)", url)
            assert session.content_ids() == list(range(1, 31))
            assert (
                other.value(
                    "SELECT count(*) FROM pg_stat_activity WHERE usename = 'mover' AND application_name = 'images'"
                )
                == 1
            )
            with pytest.raises(psycopg.Error, match="doesn't hold its segments"):
                session.ask("SELECT siglip.add_server('s1', %s)", replace_database(url, "postgres"))
            assert session.content_ids() == list(range(1, 31))
            session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        finally:
            other.ask("DROP OWNED BY mover")
            session.ask("SELECT postgres_fdw_disconnect_all()")
            other.ask("DROP ROLE mover")


def test_what_doesn_t_fit_is_refused(cluster: Cluster) -> None:
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        other.ask("CREATE SCHEMA extensions")
        other.ask("CREATE EXTENSION vector SCHEMA extensions")
        with pytest.raises(psycopg.Error, match="in the schema extensions on the server s1, and in public here"):
            session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        session.ask("CREATE EXTENSION postgres_fdw; CREATE SERVER mine FOREIGN DATA WRAPPER postgres_fdw")
        with pytest.raises(psycopg.Error, match="none of siglip's"):
            session.ask("SELECT siglip.add_server('mine', %s)", cluster.other_urls[1])
        with pytest.raises(psycopg.errors.CheckViolation):
            session.ask("SELECT siglip.add_server('a name', %s)", cluster.other_urls[1])
