"""The embedded worker: starts `python -m siglip_workers` on request, watches it, and restarts it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum

from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.logs import read_tail
from siglip_ingest.services.supervisor.processes import ProcessRecord, start_process

_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 60.0
_STOP_TIMEOUT_S = 20.0  # on SIGTERM a worker hands unfinished images back
_NEVER = float("inf")

_logger = logging.getLogger(__name__)


class WorkerState(StrEnum):
    """What the worker is doing. A failed one stopped before it was ready; asking for it tries again."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    RESTARTING = "restarting"
    FAILED = "failed"


class Worker:
    """A worker process. Nothing here blocks: `watch`, called often, moves it on.

    Args:
        folder: Where its log lies.
        has_consumer: Tells whether a worker takes tasks from the broker, which a worker does once its model is loaded.
        log: Name of its log.
    """

    def __init__(self, folder: DataFolder, has_consumer: Callable[[], bool], log: str = "worker.log") -> None:
        self._folder = folder
        self._log = folder.logs / log
        self._log_start = 0
        self._has_consumer = has_consumer
        self._child: subprocess.Popen[bytes] | None = None
        self._environment: dict[str, str] = {}
        self._delay_s = _FIRST_DELAY_S
        self._due_at = _NEVER  # when to start again, or to stop waiting for a stop
        self._ready_at = _NEVER
        self._is_leaving = False  # once it has stopped, it stays so
        self.state = WorkerState.STOPPED

    @property
    def model(self) -> str | None:
        """What `SIGLIP_MODEL` is for it; None where the database's active model decides."""
        return self._environment.get("SIGLIP_MODEL")

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it was started with."""
        return dict(self._environment)

    @property
    def record(self) -> ProcessRecord | None:
        """The worker's process, while there is one."""
        return None if self._child is None else ProcessRecord.of(self._child.pid, "siglip_workers")

    @property
    def is_wanted(self) -> bool:
        """True from the first request for it until it fails or is stopped."""
        return self.state not in (WorkerState.STOPPED, WorkerState.FAILED)

    @property
    def log_tail(self) -> list[str]:
        """Last lines of its log since it was started."""
        size = self._log.stat().st_size if self._log.exists() else 0
        return read_tail(self._log, since=self._log_start if size >= self._log_start else 0)

    def start(self, environment: Mapping[str, str]) -> None:
        """Start it, or, where it runs, start it again with another environment."""
        self._environment = dict(environment)
        self._delay_s = _FIRST_DELAY_S
        self._is_leaving = False
        if self._child is None:
            self._start()
        else:
            self._terminate(self._child)

    def leave(self) -> None:
        """Ask it to stop; `watch` sees to it that it is gone, and its state is STOPPED then."""
        self._is_leaving = True
        if self._child is None:
            self.state = WorkerState.STOPPED
        else:
            self._terminate(self._child)

    def watch(self) -> bool:
        """Look after the process; returns whether its state has changed."""
        before = self.state
        now = time.monotonic()
        if self._child is None:
            if self.state == WorkerState.RESTARTING and now >= self._due_at:
                self._start()
        elif self._child.poll() is not None:
            self._handle_exit(self._child.returncode, now)
        elif self.state == WorkerState.STOPPING and now >= self._due_at:
            self._child.kill()
        elif self.state == WorkerState.STARTING and self._has_consumer():
            self._ready_at = now
            self.state = WorkerState.READY
        return self.state != before

    def stop(self) -> None:
        """Stop it and wait until it is gone; what it hadn't finished is queued again."""
        if self._child is not None:
            self._child.terminate()
            try:
                self._child.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        self._child = None
        self.state = WorkerState.STOPPED

    def _terminate(self, child: subprocess.Popen[bytes]) -> None:
        if self.state != WorkerState.STOPPING:
            child.terminate()
            self._due_at = time.monotonic() + _STOP_TIMEOUT_S
            self.state = WorkerState.STOPPING

    def _start(self) -> None:
        self._log_start = self._log.stat().st_size if self._log.exists() else 0
        # The settings are those of the program that asks, not of the one that happened to start the supervisor.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
        self._child = start_process(
            [sys.executable, "-P", "-m", "siglip_workers"],
            folder=self._folder.path,
            log=self._log,
            environment={**inherited, "PYTHONUNBUFFERED": "1", **self._environment},
            death_signal=signal.SIGTERM,
        )
        self._ready_at = _NEVER
        self.state = WorkerState.STARTING

    def _handle_exit(self, exit_code: int, now: float) -> None:
        """Decide what comes after the process's end."""
        self._child = None
        if self.state == WorkerState.STOPPING:
            if self._is_leaving:
                self.state = WorkerState.STOPPED
            else:
                self._start()
            return
        _logger.warning("The worker ended with exit code %d: %s", exit_code, " ".join(self.log_tail[-1:]))
        if self.state == WorkerState.STARTING:
            self.state = WorkerState.FAILED
            return
        if now - self._ready_at > _LONGEST_DELAY_S:
            self._delay_s = _FIRST_DELAY_S
        self._due_at = now + self._delay_s
        self._delay_s = min(2 * self._delay_s, _LONGEST_DELAY_S)
        self.state = WorkerState.RESTARTING
