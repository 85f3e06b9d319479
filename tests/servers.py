"""PostgreSQL servers of a test's own: another version, a hot standby, and PgBouncer before one.

All on loopback, without passwords, in a folder of the test's; each is stopped by its own process id.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from siglip_ingest.embedded.accounts import find_account, open_path
from siglip_ingest.embedded.postgres import find_binaries
from siglip_ingest.embedded.processes import find_free_port
from tests.programs import wait_until

UNSAFE_BUT_FAST = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "32MB"}


def find_binaries_16() -> Path:
    """Where PostgreSQL 16 lies, which the same package carries."""
    return find_binaries().parents[1] / "pginstall" / "bin"


@contextmanager
def running_postgres(
    folder: Path, *, binaries: Path | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a PostgreSQL; gives the URL of its database `postgres`."""
    binaries = binaries or find_binaries()
    data = _make_folder(folder / "data")
    _run([str(binaries / "initdb"), "-D", str(data), "-U", "siglip", "--auth=trust", "--encoding=UTF8", "--locale=C"])
    with _running(data, binaries, settings or {}) as url:
        yield url


@contextmanager
def running_standby(folder: Path, primary_url: str) -> Iterator[str]:
    """Run a hot standby of a server, which it follows; gives its URL."""
    binaries = find_binaries()
    data = _make_folder(folder / "standby")
    data.rmdir()
    _make_folder(folder)
    _run([str(binaries / "pg_basebackup"), "-d", primary_url, "-D", str(data), "-R", "-X", "stream", "-c", "fast"])
    with _running(data, binaries, {}) as url:
        yield url


@contextmanager
def running_pgbouncer(folder: Path, server_url: str) -> Iterator[str]:
    """Run PgBouncer in transaction mode before a server; gives its URL. Skips the test where it isn't installed."""
    program = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if program is None:
        pytest.skip("PgBouncer isn't installed (Debian's package pgbouncer)")
    info = psycopg.conninfo.conninfo_to_dict(server_url)
    _make_folder(folder)
    port = find_free_port(None)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
        [databases]
        * = host=127.0.0.1 port={info["port"]} user=siglip
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 4
        logfile = {folder / "pgbouncer.log"}
        pidfile =
        """.replace("        ", "")
    )
    process = subprocess.Popen([program, "-q", str(settings)], **_identity(), stdin=subprocess.DEVNULL)
    try:
        url = f"postgresql://siglip@127.0.0.1:{port}/{info['dbname']}"
        wait_until(lambda: _answers(url))
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def _running(data: Path, binaries: Path, settings: Mapping[str, str]) -> Iterator[str]:
    port = find_free_port(None)
    chosen = {
        **UNSAFE_BUT_FAST,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "port": str(port),
        **settings,
    }
    command = [str(binaries / "postgres"), "-D", str(data)]
    command += [word for name, value in chosen.items() for word in ("-c", f"{name}={value}")]
    with (data.parent / f"{data.name}.log").open("wb") as log:
        process = subprocess.Popen(command, **_identity(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    url = f"postgresql://siglip@127.0.0.1:{port}/postgres"
    try:
        wait_until(lambda: _answers(url), timeout_s=60)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(20)


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _make_folder(folder: Path) -> Path:
    """Make a folder that the account may write which PostgreSQL runs as."""
    folder.mkdir(parents=True, exist_ok=True)
    if account := find_account():
        os.chown(folder, account.uid, account.gid)
        open_path(folder, account)
    folder.chmod(0o700)
    return folder


def _run(command: list[str]) -> None:
    done = subprocess.run(command, **_identity(), capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr


def _identity() -> dict[str, object]:
    account = find_account()
    return {} if account is None else account.popen_arguments()
