"""Behind a pooler in transaction mode: no session is needed, and nothing is left in one."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from siglip_ingest import SiglipClient, active_model, ingest, labeling, search
from siglip_ingest.db import Database
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.services.accounts import find_account
from siglip_ingest.settings import Settings
from tests.database.helpers import (
    FakeEmbedder,
    add_model,
    claim,
    close_claim,
    completed,
    index_images,
    make_fake,
    unit_vectors,
)
from tests.database.test_switching import NEW
from tests.programs import wait_until
from tests.wire import wire

STATE = """
SELECT (SELECT count(*) FROM pg_prepared_statements),
       (SELECT count(*) FROM pg_class WHERE relpersistence = 't'),
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
       (SELECT count(*) FROM pg_listening_channels()),
       (SELECT coalesce(string_agg(name, ', '), '') FROM pg_settings
        WHERE source = 'session' AND name <> 'transaction_isolation')
"""


def use_everything(database: Database, model_id: int) -> None:
    """Index, search in every way, label, and change the model; each statement often enough to be prepared."""
    for turn in range(8):
        ingestion = ingest.enqueue_images(database, [f"image {turn} {n}".encode() for n in range(3)])
        with database.connection() as connection:
            chunk = claim(connection, model_id)
            results = [completed(item, vector) for item, vector in zip(chunk.items, unit_vectors(3), strict=True)]
            assert close_claim(connection, model_id, chunk.lease_token, results).done == 3
        assert ingestion.counts().done == 3
        for _ in range(2):
            assert search.search_by_text(database, make_fake, f"text {turn}", SearchOptions(limit=3))
        assert search.similar_images(database, ingestion.image_ids[0], SearchOptions(limit=2))
        assert search.search_by_image(database, make_fake, "image")  # type: ignore[arg-type]
        labeling.create_label_set(database, make_fake, "pets", ["cat", "dog"], replace=True)
        assert labeling.label_scores_of_image_id(database, ingestion.image_ids[0], "pets")
    with database.connection() as connection:
        new_id = add_model(connection, NEW, is_active=False)
    for chosen in (new_id, model_id):
        active_model.switch_model(database, chosen)


def test_no_session_state_is_left_behind(database_url: str, model_id: int) -> None:
    with Database(database_url, pooler="transaction", max_connections=1) as database:
        use_everything(database, model_id)
        with database.connection() as connection:
            assert connection.execute(STATE).fetchone() == (0, 0, 0, 0, "")


def test_without_a_pooler_statements_are_prepared(database_url: str, model_id: int) -> None:
    index_images(Database(database_url), model_id, unit_vectors(3))
    with Database(database_url, max_connections=1) as database:
        for _ in range(8):
            search.search_by_embedding(database, unit_vectors(1)[0])
        with database.connection() as connection:
            assert connection.execute("SELECT count(*) > 0 FROM pg_prepared_statements").fetchone() == (True,)
        assert not database.is_pooled
        assert database.has_sessions


def test_a_pooler_is_recognised_by_the_process_that_it_makes_up(database_url: str) -> None:
    with wire(database_url) as line, Database(line.url) as database:
        assert not database.is_pooled
    with wire(database_url, is_pooler=True) as line:
        with Database(line.url) as database:
            assert database.is_pooled
            assert not database.has_sessions
        with Database(line.url, pooler="none") as database:  # who knows better is believed
            assert not database.is_pooled


@pytest.mark.parametrize("pooler", ["auto", "transaction"])
def test_without_the_server_s_own_url_a_session_is_refused(database_url: str, pooler: str) -> None:
    with (
        wire(database_url, is_pooler=True) as line,
        Database(line.url, pooler=pooler) as database,
        pytest.raises(ConfigurationError, match=r"A pooler answers at .* SIGLIP_DIRECT_DATABASE_URL"),
        database.session(),
    ):
        pass


def test_what_needs_a_session_goes_to_the_server_itself(database_url: str, model_id: int) -> None:
    with (
        wire(database_url, is_pooler=True) as pooler,
        wire(database_url) as direct,
        Database(pooler.url, direct_url=direct.url) as database,
    ):
        with database.connection() as connection:
            connection.execute("SELECT 1")
        assert (database.is_pooled, database.has_sessions, direct.connections) == (True, True, 0)
        with database.listen("siglip_ingest_items") as listener:
            assert direct.connections == 1
            ingest.enqueue_images(database, b"an image")
            assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [str(model_id)]
        assert direct.connections == 1


def test_a_client_hands_its_urls_on(database_url: str, model_id: int) -> None:
    with wire(database_url, is_pooler=True) as pooler:
        settings = Settings(database_url=pooler.url, direct_database_url=database_url, pooler="transaction")
        with SiglipClient(settings=settings, embedder=FakeEmbedder()) as client:
            assert client.search_images("cat") == []
            assert client.database.is_pooled
            assert client.database.has_sessions


@pytest.fixture(scope="module")
def pgbouncer_program() -> str:
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("no pgbouncer on this machine (Debian: apt-get install pgbouncer)")
    return program


@pytest.fixture
def bouncer_url(database_url: str, pgbouncer_program: str, tmp_path: Path) -> Iterator[str]:
    """URL of a PgBouncer in transaction mode, with fewer connections than clients, before the test's database."""
    parts = urlsplit(database_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = Path(f"/tmp/siglip-bouncer-{port}")  # pytest's own folders are closed to other accounts
    folder.mkdir()
    account = find_account()
    configuration = folder / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={parts.hostname} port={parts.port} user={parts.username} password={parts.password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = transaction\ndefault_pool_size = 3\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    if account is not None:
        os.chown(folder, account.uid, account.gid)
        os.chown(configuration, account.uid, account.gid)
    log = (tmp_path / "pgbouncer.log").open("wb")
    process = subprocess.Popen(
        [pgbouncer_program, str(configuration)],
        cwd=folder,
        stdout=log,
        stderr=log,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )
    url = f"postgresql://{parts.username}:x@127.0.0.1:{port}{parts.path}"

    def is_up() -> bool:
        assert process.poll() is None, (tmp_path / "pgbouncer.log").read_text()
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_until(is_up)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        log.close()
        shutil.rmtree(folder)


def test_pgbouncer_is_recognised_and_everything_works_behind_it(
    bouncer_url: str, database_url: str, model_id: int
) -> None:
    with Database(bouncer_url) as database, ThreadPoolExecutor(6) as threads:
        use_everything(database, model_id)
        assert database.is_pooled
        texts = [f"text {n % 20}" for n in range(120)]
        found: list[Any] = list(threads.map(lambda text: search.search_by_text(database, make_fake, text), texts))
        assert [len(matches) for matches in found] == [10] * 120
        images = list(threads.map(lambda n: ingest.enqueue_images(database, f"one {n}".encode()), range(60)))
        assert len({ingestion.image_ids[0] for ingestion in images}) == 60
    with Database(database_url) as direct, direct.connection() as connection:
        leftovers = "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relkind = 'r'"
        assert connection.execute(leftovers).fetchone() == (0,)
