"""Workers as a supervisor runs them: one that ends, however it ends, is started again at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from tests.faults.ingest.record import FaultRecord
from tests.programs import wait_until
from tests.workers.helpers import WorkerProcess

LOOK_S = 0.05


class Slot:
    """A place for one worker: its process now, and the logs of those before."""

    def __init__(self, name: str, folder: Path, settings: Mapping[str, object]) -> None:
        self._name = name
        self._folder = folder
        self._settings = settings
        self._starts = 0
        self._is_wanted = True
        self._lock = threading.Lock()
        self.worker = self._start()

    @property
    def node(self) -> str:
        """A pattern for LIKE of the name that the process has in `siglip.workers`."""
        return f"%-{self.worker.pid}@%"

    @property
    def log(self) -> str:
        """What all of its processes have written."""
        return "".join(path.read_text() for path in sorted(self._folder.glob(f"{self._name}-*.log")))

    def kill(self) -> None:
        """End the process as the kernel would; another one is started at once."""
        with self._lock:
            self.worker.kill()
            self.worker = self._start()

    def remove(self) -> None:
        """End the process for good."""
        with self._lock:
            self._is_wanted = False
            self.worker.kill()  # a stopped process too

    def pause(self) -> None:
        os.kill(self.worker.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.worker.pid, signal.SIGCONT)

    def look_after(self) -> bool:
        """Start the worker again where it has ended by itself; returns whether it had."""
        with self._lock:
            has_ended = self._is_wanted and not self.worker.is_running
            if has_ended:
                self.worker = self._start()
        return has_ended

    def _start(self) -> WorkerProcess:
        self._starts += 1
        return WorkerProcess("siglip_workers", self._folder / f"{self._name}-{self._starts:02}.log", self._settings)


class Fleet:
    """The workers of a test, and a thread that looks after them."""

    def __init__(self, folder: Path, settings: Mapping[str, object], record: FaultRecord) -> None:
        """Make a fleet of none yet; `record` counts the workers that end by themselves."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._settings = dict(settings)
        self._record = record
        self._slots: list[Slot] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="fleet")
        self._thread.start()

    @property
    def log(self) -> str:
        """What all workers have written."""
        return "\n".join(slot.log for slot in self._slots)

    def start(self, *, wait: bool = True, **settings: object) -> Slot:
        """Start a worker; keyword arguments are settings beside or instead of the fleet's."""
        slot = Slot(f"worker{len(self._slots)}", self._folder, self._settings | settings)
        self._slots.append(slot)
        if wait:
            wait_until(lambda: "Ready" in slot.log, timeout_s=60)
        return slot

    def close(self) -> None:
        """End all workers."""
        self._closing.set()
        self._thread.join()
        for slot in self._slots:
            slot.remove()

    def _look_after(self) -> None:
        while not self._closing.wait(LOOK_S):
            for slot in list(self._slots):
                self._record.restarts += slot.look_after()
