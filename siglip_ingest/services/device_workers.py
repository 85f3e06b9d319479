"""One worker process for each of several devices, started again where one ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from siglip_ingest.process.children import die_with_parent

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "siglip_workers")
SHORT_LIFE_S = 60.0  # a worker that ended sooner could not start, or would end again
RESTART_PAUSE_S = 1.0
LOOK_S = 0.2


class DeviceWorkers:
    """Workers as child processes, each with a device of its own.

    Args:
        devices: Names of torch devices, such as `cuda:0`; one that is named twice gets two workers.
        environment: Of the workers; `SIGLIP_DEVICE` is added.
        command: What a worker is started with.
    """

    def __init__(
        self, devices: Sequence[str], environment: Mapping[str, str], command: Sequence[str] = COMMAND
    ) -> None:
        self._devices = list(devices)
        self._environment = dict(environment)
        self._command = list(command)
        self._children: dict[int, subprocess.Popen[bytes]] = {}  # by the device's place in the list
        self._started_at: dict[int, float] = {}
        self._is_stopping = False

    def run(self) -> int:
        """Start them, and look after them until SIGINT or SIGTERM, which each of them gets; returns the exit status.

        A worker that ends is started again. If it ended within a minute, all are stopped, and its exit status returned:
        its own last lines say why.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        for place in range(len(self._devices)):
            self._start(place)
        status = 0
        while self._children:
            time.sleep(LOOK_S)
            for place, child in list(self._children.items()):
                if child.poll() is None:
                    continue
                del self._children[place]
                if self._is_stopping:
                    continue
                status = status or self._replace(place, child.returncode)
        return status

    def _start(self, place: int) -> None:
        self._started_at[place] = time.monotonic()
        self._children[place] = subprocess.Popen(
            self._command,
            env={**self._environment, "SIGLIP_DEVICE": self._devices[place]},
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches it once, from here
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  # no threads here
        )

    def _replace(self, place: int, status: int) -> int:
        """Start a worker again that has ended; or, where that has no point, stop all and return an exit status."""
        device = self._devices[place]
        if time.monotonic() - self._started_at[place] < SHORT_LIFE_S:
            logger.error("The worker on %s ended with exit status %d; the others are stopped.", device, status)
            self._stop()
            return status if status > 0 else 1
        logger.warning("The worker on %s ended with exit status %d; it is started again.", device, status)
        time.sleep(RESTART_PAUSE_S)
        self._start(place)
        return 0

    def _stop(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        self._is_stopping = True
        for child in self._children.values():
            if child.poll() is None:
                os.kill(child.pid, signal.SIGTERM)
