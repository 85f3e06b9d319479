"""Fixtures that need a real PostgreSQL and a real Redis. Both are started once a session, in a folder of pytest's own.

A test gets a fresh database, cloned from a migrated template (`database_url`) or without our schema
(`empty_database_url`). `SIGLIP_TEST_DATABASE_URL` and `SIGLIP_TEST_BROKER_URL`, both, use running servers instead; the
role must be a superuser.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from siglip_ingest.services import EmbeddedServices, stop_services
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.postgres import Postgres, find_binaries
from siglip_ingest.services.supervisor.redis import Redis
from siglip_ingest.settings import Settings
from tests.programs import find_processes, wait_until
from tests.servers import POSTGRES_16, PgBouncer, PostgresServer
from tests.stores import Bucket, forget_stores, make_bucket, s3_server

# Models in tests are tiny: threads only wait for each other. Child processes inherit it; torch isn't imported yet.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nor is it what this machine happens to be fast in; tests of other arithmetic ask for it.
os.environ.setdefault("SIGLIP_DTYPE", "float32")

# A test's data are thrown away: nothing has to reach the disk.
_UNSAFE_BUT_FAST = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off", "shared_buffers": "64MB"}
_SETTINGS = _UNSAFE_BUT_FAST | {"max_connections": "200"}  # a hundred sessions ask at once
_database_numbers = itertools.count(1)
_REDIS_DATABASES = 16


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep all that a session writes in one folder of its own, and remove it at the end.

    pytest's usual one, /tmp/pytest-of-<user>, is shared: a second session of root's would close it to the first one's
    PostgreSQL, which runs as another account. torch's compiler, once imported (transformers does), makes a folder too,
    and torchrun leaves some behind.
    """
    if (
        signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    ):  # a shell's background job, whose programs would ignore it too
        signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="siglip-tests-")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    if not config.option.basetemp:
        config.option.basetemp = str(Path(folder) / "pytest")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "torch")
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@dataclass(frozen=True)
class Services:
    """Running servers. `database_url` is the maintenance database: tests use the fixtures below instead."""

    database_url: str
    broker_url: str


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    given = (os.environ.get("SIGLIP_TEST_DATABASE_URL"), os.environ.get("SIGLIP_TEST_BROKER_URL"))
    if given[0] and given[1]:
        yield Services(given[0], given[1])
        return
    folder = DataFolder.at(tmp_path_factory.mktemp("services") / "home")
    postgres, redis = Postgres(folder, _SETTINGS), Redis(folder)
    try:
        postgres.start()
        redis.start()
        yield Services(replace_database(postgres.url, "postgres"), redis.url)
    finally:
        redis.stop()
        postgres.stop()


@pytest.fixture(scope="session")
def _template(services: Services) -> Iterator[str]:
    """Name of a migrated database that tests' databases are cloned from."""
    import siglip_migrations

    name = f"siglip_template_{uuid.uuid4().hex[:12]}"
    _create_database(services, name)
    siglip_migrations.upgrade(replace_database(services.database_url, name))
    yield name
    _drop_database(services, name)


@pytest.fixture
def database_url(services: Services, _template: str) -> Iterator[str]:
    """URL of a fresh, migrated, empty database."""
    yield from _fresh_database(services, template=_template)


@pytest.fixture
def empty_database_url(services: Services) -> Iterator[str]:
    """URL of a fresh database that was never migrated."""
    yield from _fresh_database(services, template="template1")


@pytest.fixture
def pooler_url(services: Services, database_url: str, tmp_path: Path) -> Iterator[str]:
    """URL of `database_url` behind a PgBouncer in transaction mode."""
    pooler = PgBouncer(tmp_path, services.database_url)
    yield pooler.url_of(database_url)
    pooler.stop()


@pytest.fixture(scope="session")
def _standby(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    if os.environ.get("SIGLIP_TEST_DATABASE_URL"):
        pytest.skip("the server is somebody else's to copy")
    standby = PostgresServer(tmp_path_factory.mktemp("standby"))
    try:
        standby.copy(services.database_url)
        standby.start()
        yield standby
    finally:
        standby.stop()


@pytest.fixture
def standby_url(_standby: PostgresServer, services: Services, database_url: str) -> str:
    """URL of `database_url` on a hot standby of the server."""
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
    assert row is not None
    with psycopg.connect(_standby.url, autocommit=True) as connection:
        wait_until(
            lambda: connection.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [row[0]]).fetchone() == (True,)
        )
    return replace_database(_standby.url, urlsplit(database_url).path.lstrip("/"))


@pytest.fixture(scope="session")
def postgres_16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A running PostgreSQL 16, with a migrated database called `siglip`."""
    import siglip_migrations

    server = PostgresServer(tmp_path_factory.mktemp("postgres_16"), find_binaries(POSTGRES_16))
    try:
        server.initialise()
        server.start()
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE siglip")
        siglip_migrations.upgrade(replace_database(server.url, "siglip"))
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres_16_url(postgres_16: PostgresServer) -> Iterator[str]:
    """URL of a migrated, empty database of PostgreSQL 16; one test at a time has it."""
    name = f"siglip_test_{next(_database_numbers)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE siglip").format(sql.Identifier(name))
    drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(postgres_16.url, autocommit=True) as connection:
        connection.execute(create)
    yield replace_database(postgres_16.url, name)
    with psycopg.connect(postgres_16.url, autocommit=True) as connection:
        connection.execute(drop)


@pytest.fixture
def broker_url(services: Services) -> str:
    """URL of an empty Redis database; the next test gets another one."""
    import redis

    url = replace_database(services.broker_url, str(next(_database_numbers) % _REDIS_DATABASES))
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    return url


@pytest.fixture(scope="session")
def _template_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SIGLIP_HOME whose services were started once: initialised and migrated."""
    settings = Settings(home=tmp_path_factory.mktemp("template") / "home")
    EmbeddedServices(settings).start().close()
    return settings.home


@pytest.fixture
def embedded_home(_template_home: Path, tmp_path: Path) -> Iterator[Path]:
    """A SIGLIP_HOME of one's own whose services don't run yet; whatever of it still runs after the test fails it."""
    home = tmp_path / "home"
    subprocess.run(["cp", "-a", str(_template_home), str(home)], check=True)
    yield home
    stop_services(Settings(home=home))
    wait_until(lambda: not find_processes(tmp_path), timeout_s=5.0)


@pytest.fixture(scope="session")
def _s3() -> Iterator[dict[str, str]]:
    with s3_server() as environment:
        yield environment


@pytest.fixture
def bucket(_s3: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """An empty bucket of S3, which this process reaches by its environment."""
    yield make_bucket(_s3, monkeypatch)
    forget_stores()


@pytest.fixture(scope="session")
def demo_checkpoint() -> Path:
    """Folder of the checkpoint that ships with the package."""
    import siglip_ingest.demo

    assert siglip_ingest.demo.__file__ is not None
    return Path(siglip_ingest.demo.__file__).parent / "checkpoint"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny SigLIP with random weights in the published layout."""
    from tests.checkpoints import write_tiny_checkpoint

    folder = tmp_path_factory.mktemp("tiny_checkpoint")
    write_tiny_checkpoint(folder)
    return folder


def replace_database(url: str, name: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextmanager
def clone_database(services: Services, template: str) -> Iterator[str]:
    """URL of a copy of a database that nobody is connected to; it is dropped at the end."""
    yield from _fresh_database(services, template=template)


def _fresh_database(services: Services, *, template: str) -> Iterator[str]:
    name = f"siglip_test_{os.getpid()}_{next(_database_numbers)}"
    _create_database(services, name, template)
    try:
        yield replace_database(services.database_url, name)
    finally:
        _drop_database(services, name)


def _create_database(services: Services, name: str, template: str = "template1") -> None:
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        )


def _drop_database(services: Services, name: str) -> None:
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(statement)
