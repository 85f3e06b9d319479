"""Base class of the embedded PostgreSQL and Redis."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.processes import ProcessRecord, stop_process


class Server:
    """A server program that runs as a child process; subclasses start it and keep it in `_child`.

    Args:
        folder: Where its data and its log lie.
        program: Name of its process, by which it is known again after the supervisor died.
        log: What it writes goes there.
        stop_signals: What is sent to stop it, one after the other, and seconds to wait after each.
    """

    def __init__(
        self, folder: DataFolder, *, program: str, log: Path, stop_signals: Sequence[tuple[signal.Signals, float]]
    ) -> None:
        self._folder = folder
        self._program = program
        self._log = log
        self._stop_signals = stop_signals
        self._child: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def record(self) -> ProcessRecord | None:
        """The server's process, once it was started."""
        return None if self._child is None else ProcessRecord.of(self._child.pid, self._program)

    def is_running(self) -> bool:
        """Tell whether the server that was started here still runs."""
        return self._child is not None and self._child.poll() is None

    def stop(self) -> None:
        """Stop the server, if it runs: its clients are disconnected."""
        if self._child is not None and self._child.poll() is None:
            stop_process(psutil.Process(self._child.pid), self._stop_signals)
        if self._child is not None:
            self._child.wait()
        self._child = None
