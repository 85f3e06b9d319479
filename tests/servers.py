"""Servers for tests that need other ones than the session's: an older PostgreSQL, a hot standby, a pooler."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from siglip_ingest.services.accounts import allow_traversal, find_account
from siglip_ingest.services.supervisor.postgres import find_binaries
from siglip_ingest.services.supervisor.processes import find_free_port, start_process, stop_process
from tests.programs import wait_until

POSTGRES_16 = "pginstall"  # the package's folder of that version; that of 18 is the default
ROLE = "siglip"
PASSWORD = "x1"
_STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",  # a standby needs as many as its primary has
    "jit": "off",
    "lc_messages": "C",
}
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}


class PostgresServer:
    """A PostgreSQL that a test may stop and start again; its port stays the same."""

    def __init__(self, folder: Path, binaries: Path | None = None) -> None:
        """Make a handle: `initialise` or `copy`, then `start`.

        Args:
            folder: A new one, for everything of the server.
            binaries: Where its programs lie; by default those of the embedded PostgreSQL.
        """
        self._account = find_account()
        self._binaries = binaries or find_binaries()
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._port = find_free_port()
        self._credentials = f"{ROLE}:{PASSWORD}"
        self._child: subprocess.Popen[bytes] | None = None
        self._data.mkdir(parents=True, mode=0o700, exist_ok=True)  # it may be a disk of its own
        if self._account is not None:
            os.chown(self._data, self._account.uid, self._account.gid)
            allow_traversal(self._data, self._account)
            allow_traversal(self._binaries, self._account)

    @property
    def url(self) -> str:
        """URL of the maintenance database."""
        return f"postgresql://{self._credentials}@127.0.0.1:{self._port}/postgres"

    @property
    def is_running(self) -> bool:
        return self._child is not None

    def initialise(self) -> None:
        """Make an empty cluster."""
        password = self._data.parent / "password"
        password.write_text(PASSWORD)
        options = [f"--pgdata={self._data}", f"--username={ROLE}", f"--pwfile={password}", "--auth=scram-sha-256"]
        self._run("initdb", [*options, "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])

    def copy(self, primary_url: str) -> None:
        """Become a standby of a running server, which streams to it."""
        self._credentials = urlsplit(primary_url).netloc.rpartition("@")[0]
        self._run("pg_basebackup", [f"--pgdata={self._data}", f"--dbname={primary_url}", "-R", "-c", "fast", "-N"])

    def start(self) -> None:
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self._port)]
        command += [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        self._child = self._spawn(command, signal.SIGINT)
        wait_until(self._answers, timeout_s=60)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def ensure_running(self) -> None:
        """Start it again where it has ended by itself, as a supervisor would."""
        if self._child is not None and self._child.poll() is not None:
            self._child = None
        self.ensure_started()

    def ensure_started(self) -> None:
        if self._child is None:
            self.start()

    def stop(self) -> None:
        if self._child is not None and self._child.poll() is None:
            stop_process(psutil.Process(self._child.pid), _STOP_SIGNALS)
        if self._child is not None:
            self._child.wait()
        self._child = None

    def crash(self) -> None:
        """Stop at once, without a checkpoint: the next start recovers."""
        assert self._child is not None
        self._child.send_signal(signal.SIGQUIT)
        self._child.wait(30)
        self._child = None

    def kill(self) -> None:
        """End all of its processes at once, as the kernel would where memory is short."""
        assert self._child is not None
        postmaster = psutil.Process(self._child.pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._child.wait()
        psutil.wait_procs(processes, timeout=10)
        self._child = None

    def _run(self, program: str, options: Sequence[str]) -> None:
        assert self._spawn([str(self._binaries / program), *options]).wait(120) == 0, self._log.read_text()

    def _spawn(self, command: Sequence[str], death_signal: signal.Signals = signal.SIGTERM) -> subprocess.Popen[bytes]:
        return start_process(
            command,
            folder=self._data,
            log=self._log,
            account=self._account,
            environment=_ENVIRONMENT,
            death_signal=death_signal,
        )

    def _answers(self) -> bool:
        assert self._child is not None
        assert self._child.poll() is None, self._log.read_text()
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class PgBouncer:
    """A PgBouncer in transaction mode before a server."""

    def __init__(self, folder: Path, server_url: str, *, pool_size: int = 20) -> None:
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
        if program is None:
            pytest.skip("PgBouncer isn't installed (Debian's package is called pgbouncer)")
        server = urlsplit(server_url)
        account = find_account()
        self._port = find_free_port()
        self._url = f"postgresql://{server.username}:{server.password}@127.0.0.1:{self._port}"
        users, settings = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{server.username}" "{server.password}"\n')
        settings.write_text(
            f"[databases]\n* = host={server.hostname} port={server.port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self._port}\nunix_socket_dir =\n"
            f"pool_mode = transaction\ndefault_pool_size = {pool_size}\nmax_client_conn = 300\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
        )
        if account is not None:
            allow_traversal(folder, account)
            for path in (users, settings):
                path.chmod(0o644)
        command = [program, "--quiet", str(settings)]
        self._child = start_process(command, folder=folder, log=folder / "pgbouncer.log", account=account)
        wait_until(self._answers)

    def url_of(self, database_url: str) -> str:
        """The URL by which a database of the server is reached through it."""
        return self._url + urlsplit(database_url).path

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()

    def _answers(self) -> bool:
        assert self._child.poll() is None, "PgBouncer ended"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self._port)) == 0
