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
SHORT_LIFE_S = 60.0  # a worker that ended sooner could not start, or ends again and again
RESTART_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
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
        self._pauses_s: dict[int, float] = {}
        self._signalled: set[int] = set()
        self._is_stopping = False

    def run(self) -> int:
        """Start them, and look after them until SIGINT or SIGTERM, which each of them gets; returns the exit status.

        A worker that ends is started again, ever more slowly where it ends again and again. One that couldn't start,
        with an exit status above 0 within a minute, stops them all; its own last lines say why.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        for place in range(len(self._devices)):
            self._start(place)
        status = 0
        while self._children:
            time.sleep(LOOK_S)
            if self._is_stopping:
                self._signal_children()
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
        """Start a worker again that has ended; or, where it couldn't start, stop all and return its exit status."""
        device, is_short = self._devices[place], time.monotonic() - self._started_at[place] < SHORT_LIFE_S
        if is_short and status > 0:
            logger.error("The worker on %s ended with exit status %d; the others are stopped.", device, status)
            self._is_stopping = True
            self._signal_children()
            return status
        logger.warning("The worker on %s ended with exit status %d; it is started again.", device, status)
        pause_s = min(LONGEST_PAUSE_S, 2 * self._pauses_s.get(place, 0.5)) if is_short else RESTART_PAUSE_S
        self._pauses_s[place] = pause_s
        again_at = time.monotonic() + pause_s
        while not self._is_stopping and time.monotonic() < again_at:
            time.sleep(LOOK_S)
        if not self._is_stopping:
            self._start(place)
        return 0

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Note a signal; the loop passes it on, also to a worker that is being started just now."""
        self._is_stopping = True

    def _signal_children(self) -> None:
        for child in self._children.values():
            if child.poll() is None and child.pid not in self._signalled:
                self._signalled.add(child.pid)
                os.kill(child.pid, signal.SIGTERM)
