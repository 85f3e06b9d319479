"""Other servers than the usual one: PostgreSQL 16, a hot standby, PgBouncer, a small lock table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import siglip_migrations
from siglip_ingest import SiglipClient, labeling, search
from siglip_ingest.db import Database
from siglip_ingest.errors import ConfigurationError, DatabaseError, WorkerUnavailableError
from tests.database.helpers import (
    FakeEmbedder,
    add_model,
    index_images,
    make_fake,
    store_text,
    text_vector,
    unit_vectors,
)
from tests.database.listeners import listening
from tests.programs import wait_until
from tests.servers import find_binaries_16, running_pgbouncer, running_postgres, running_standby

SEARCH = "SELECT image_id FROM siglip.search_images(%s, 3)"


@pytest.fixture(scope="module")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without passwords, with a migrated database that has a model and 20 images."""
    with running_postgres(tmp_path_factory.mktemp("server")) as url:
        _fill(url)
        yield url


def _fill(url: str) -> None:
    siglip_migrations.upgrade(url)
    with Database(url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        index_images(database, model_id, unit_vectors(20))


def _search_in_sql(url: str, query: str) -> list[object]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [image_id for (image_id,) in connection.execute(SEARCH, [query])]


def _expected(query: str) -> list[int]:
    order = sorted(range(20), key=lambda n: -float(unit_vectors(20)[n] @ text_vector(query)))
    return [n + 1 for n in order[:3]]


def test_a_server_needs_no_setting(server_url: str) -> None:
    with psycopg.connect(server_url) as connection:
        assert connection.execute("SHOW wal_level").fetchone() == ("replica",)
    with Database(server_url) as database, listening(database):
        assert _search_in_sql(server_url, "no setting") == _expected("no setting")


def test_postgresql_16_does_all_of_it(tmp_path: Path) -> None:
    with running_postgres(tmp_path / "16", binaries=find_binaries_16()) as url:
        _fill(url)
        with Database(url) as database:
            with database.connection() as connection:
                assert connection.info.server_version // 10_000 == 16
            with listening(database):
                assert _search_in_sql(url, "a new text") == _expected("a new text")
            matches = search.search_by_text(database, make_fake, "another")
            assert [match.image_id for match in matches[:3]] == _expected("another")
            labeling.create_label_set(database, make_fake, "pets", ["cat", "dog"])
            assert len(labeling.label_scores_of_image_id(database, 1, "pets")) == 2
        assert siglip_migrations.migrate(url, "base") is None


def test_a_hot_standby_asks_a_worker_too(tmp_path: Path, server_url: str) -> None:
    with (
        running_standby(tmp_path, server_url) as standby_url,
        Database(server_url) as primary,
        Database(standby_url) as standby,
    ):
        with pytest.raises(WorkerUnavailableError, match="no worker of the model fake listens to this server"):
            search.search_by_text(standby, None, "nobody listens there")
        with listening(primary, server=standby) as listener:
            assert _search_in_sql(standby_url, "on a standby") == _expected("on a standby")
            matches = search.search_by_text(standby, None, "from Python, without torch")
        assert [match.image_id for match in matches[:3]] == _expected("from Python, without torch")
        assert [request.query for request in listener.asked] == ["on a standby", "from Python, without torch"]
        # A client that embeds its texts itself finds images too, though nothing can be stored there.
        assert search.search_by_text(standby, make_fake, "embedded here")


def test_a_full_lock_table_is_named(server_url: str) -> None:
    with Database(server_url) as database, listening(database), psycopg.connect(server_url, autocommit=True) as asker:
        asker.execute(SEARCH, ["so that its tables are known"])
        with psycopg.connect(server_url, autocommit=True) as greedy:
            fill = "SELECT count(pg_advisory_lock_shared(g)) FROM generate_series(1, 1000000) AS g"
            with pytest.raises(psycopg.errors.OutOfMemory):
                greedy.execute(fill)
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="lock table is full") as caught:
                asker.execute(SEARCH, ["there is no place for this text"])
        assert "max_locks_per_transaction" in str(caught.value.diag.message_hint)
        count = "SELECT count(*) < 100 FROM pg_locks"
        wait_until(lambda: asker.execute(count).fetchone() == (True,))  # a moment after the greedy one has gone
        assert len(asker.execute(SEARCH, ["there is no place for this text"]).fetchall()) == 3


def test_a_lock_that_another_program_holds_is_no_reason_to_wait(server_url: str) -> None:
    with Database(server_url) as database, listening(database), psycopg.connect(server_url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(1397311308, 1)")
        with pytest.raises(DatabaseError, match="another program holds an advisory lock"):
            search.search_by_text(database, None, "held")


@pytest.fixture
def pooled_url(tmp_path: Path, server_url: str) -> Iterator[str]:
    """The same database behind PgBouncer in transaction mode."""
    with running_pgbouncer(tmp_path / "pgbouncer", server_url) as url:
        yield url


def test_pgbouncer_is_recognised(pooled_url: str, server_url: str) -> None:
    with Database(pooled_url) as pooled, Database(server_url) as direct:
        assert (pooled.is_pooled, direct.is_pooled) == (True, False)
        with pytest.raises(ConfigurationError, match="Name it in SIGLIP_DIRECT_DATABASE_URL"), pooled.session():
            pass
    with Database(pooled_url, direct_url=server_url) as both, both.listen("a_channel") as session:
        row = session.execute("SELECT inet_server_port()").fetchone()
        assert row == (int(psycopg.conninfo.conninfo_to_dict(server_url)["port"]),)


def test_a_client_works_behind_pgbouncer(pooled_url: str, server_url: str) -> None:
    """Over and over, with more threads than the pooler has connections."""
    from concurrent.futures import ThreadPoolExecutor

    with SiglipClient(database_url=pooled_url, embedder=FakeEmbedder()) as client, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda n: client.search_images(f"text {n % 12}", limit=3), range(96)))
        for number, matches in enumerate(found):
            assert [match.image_id for match in matches] == _expected(f"text {number % 12}")
        ingestion = client.enqueue_images([b"first image", b"second image"], metadata={"a": 1})
        assert ingestion.counts().queued == 2
        assert client.enqueue_images([b"second image"]).counts().queued == 1
        client.create_label_set("things", ["boat", "tree"], replace=True)
        assert len(client.label_scores(1, "things")) == 2
        assert len(client.similar_images(1, limit=3)) == 3


def test_a_new_text_in_sql_is_answered_behind_pgbouncer(pooled_url: str, server_url: str) -> None:
    with Database(pooled_url, direct_url=server_url) as database, listening(database):
        with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as connection:
            rows = [image_id for (image_id,) in connection.execute(SEARCH, ["through the pooler"])]
        assert rows == _expected("through the pooler")
        matches = search.search_by_text(database, None, "through the pooler, from Python")
    assert [match.image_id for match in matches[:3]] == _expected("through the pooler, from Python")


def test_no_lock_and_no_setting_is_left_behind(pooled_url: str, server_url: str) -> None:
    with Database(pooled_url, direct_url=server_url) as database:
        with listening(database):
            search.search_by_text(database, None, "left behind?")
        locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        with psycopg.connect(server_url, autocommit=True) as connection:
            wait_until(lambda: connection.execute(locks).fetchone() == (0,))
        with database.connection() as connection:
            for setting, value in (("hnsw.ef_search", "40"), ("search_path", '"$user", public')):
                assert connection.execute("SELECT current_setting(%s, true)", [setting]).fetchone() in {
                    (value,),
                    (None,),
                }


def test_pgbouncer_is_installed_where_ci_runs() -> None:
    """Elsewhere its tests may be skipped."""
    import shutil

    if os.environ.get("CI") == "true":
        assert shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")


def test_a_cached_text_needs_no_worker_on_a_standby(tmp_path: Path, server_url: str) -> None:
    with Database(server_url) as primary, primary.connection() as connection:
        store_text(connection, 1, "cached")
    with running_standby(tmp_path, server_url) as standby_url:
        assert _search_in_sql(standby_url, "cached") == _expected("cached")
