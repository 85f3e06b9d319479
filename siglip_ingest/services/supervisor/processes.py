"""Child processes that die with their parent, are identified by pid and start time, and are stopped by signals."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from siglip_ingest.errors import ServiceError
from siglip_ingest.process.children import die_with_parent
from siglip_ingest.services.accounts import Account
from siglip_ingest.services.logs import rotate_log, suggest_fix

_START_TIME_TOLERANCE_S = 2.0  # the wall clock may be corrected between two readings of a process's start time


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """What identifies a process for good: a pid alone may be another process by tomorrow.

    Attributes:
        pid: Its process id.
        started_at: Seconds since the epoch.
        name: A word of its command line.
    """

    pid: int
    started_at: float
    name: str

    @classmethod
    def of(cls, pid: int, name: str) -> ProcessRecord | None:
        """Describe the running process `pid`, or None where there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time(), name)
        except psutil.NoSuchProcess:
            return None

    @classmethod
    def from_json(cls, item: Any) -> ProcessRecord | None:
        """Read what `to_json` gave; None if it is something else."""
        try:
            return cls(int(item["pid"]), float(item["started_at"]), str(item["name"]))
        except (KeyError, TypeError, ValueError):
            return None

    def to_json(self) -> dict[str, Any]:
        """The record as JSON."""
        return {"pid": self.pid, "started_at": self.started_at, "name": self.name}

    def find(self) -> psutil.Process | None:
        """The process if it still runs; None if it has ended or its pid belongs to another process now."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started_at) <= _START_TIME_TOLERANCE_S
            if is_same and is_alive(process) and any(self.name in word for word in process.cmdline()):
                return process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None
        return None


def stop_orphans(state: dict[str, Any]) -> bool:
    """Stop what a killed supervisor left running, by the state that it wrote; returns whether there was anything."""
    orphans = [record.find() for item in state.get("processes", []) if (record := ProcessRecord.from_json(item))]
    running = [orphan for orphan in orphans if orphan is not None]
    for orphan in running:
        if not stop_process(
            orphan, ((signal.SIGINT if "postgres" in orphan.name() else signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0))
        ):
            raise ServiceError(
                f"An earlier {orphan.name()} (process {orphan.pid}) doesn't stop. Stop it with: kill {orphan.pid}"
            )
    return bool(running)


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; one that has ended and only waits for its parent to notice doesn't."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop_process(process: psutil.Process, signals: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Send each signal in turn, waiting its number of seconds for the process to end; returns whether it ended."""
    for number, timeout_s in signals:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return True
        give_up_at = time.monotonic() + timeout_s
        # Waiting for the pid to go would wait for a parent that may never look after its dead child.
        while is_alive(process) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        if not is_alive(process):
            return True
    return False


def start_process(
    command: Sequence[str],
    *,
    folder: Path,
    log: Path,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
    stdin: bytes | None = b"",
) -> subprocess.Popen[bytes]:
    """Start a child in a session of its own (a Ctrl-C in a terminal doesn't reach it) that dies with this process.

    Args:
        command: Program and arguments.
        folder: Its working directory.
        log: File that gets its output.
        account: System user to run as; None means the one of this process.
        environment: All of its environment; None means that of this process.
        death_signal: Sent by the kernel when this process dies, however it dies (Linux only).
        stdin: What it reads from its standard input; None leaves the pipe to the caller.

    Raises:
        ServiceError: If the program can't be run.
    """
    try:
        rotate_log(log)
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                cwd=folder,
                env=None if environment is None else dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent(death_signal),  # noqa: PLW1509  # no threads here
                **({} if account is None else account.popen_arguments()),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServiceError(f"{command[0]} could not be started: {error}. {suggest_fix(str(error))}".rstrip()) from error
    if stdin is not None and child.stdin is not None:
        with child.stdin:
            child.stdin.write(stdin)
    return child


def find_free_port(preferred: int | None = None) -> int:
    """A TCP port of the loopback interface that no program listens on: `preferred`, where that is free."""
    for port in (preferred or 0, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise ServiceError("No TCP port is free on 127.0.0.1: close some programs and try again.")
