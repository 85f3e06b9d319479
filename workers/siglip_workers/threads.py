"""Threads that a worker can't do without: if one fails, the worker ends."""

from __future__ import annotations

import logging
import os
import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import psycopg
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from siglip_ingest.errors import SiglipError

logger = logging.getLogger(__name__)


def make_thread(name: str, target: Callable[[], None]) -> threading.Thread:
    """Make a thread that stops the process where its target raises: a worker that does half of its work is no help."""

    def run() -> None:
        try:
            target()
        except Exception:
            logger.exception("The thread %s failed; the worker stops, to be started again.", name)
            stop_process()

    return threading.Thread(target=run, name=name, daemon=True)


def is_forbidden(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that the role lacks a right."""
    while error is not None:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return True
        error = error.__cause__
    return False


class StoppableThread(ABC):
    """A thread with a loop that ends soon after `stop`. Subclasses write the loop, `run`, which looks at `stopping`."""

    def __init__(self, name: str) -> None:
        self.stopping = threading.Event()
        self._thread = make_thread(name, self.run)

    @abstractmethod
    def run(self) -> None:
        """Loop until `stopping` is set."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End the loop. Sets a flag only: for signal handlers."""
        self.stopping.set()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join()


class Repeater(StoppableThread):
    """A thread that does something again and again; PostgreSQL or Redis being away doesn't end it."""

    def __init__(self, name: str, action: Callable[[], None], every_s: float) -> None:
        """Make a thread; `start` starts it.

        Args:
            name: For people.
            action: Runs at once, and then every `every_s` seconds.
            every_s: Seconds.
        """
        super().__init__(name)
        self._name = name
        self._action = action
        self._every_s = every_s

    def run(self) -> None:
        """Do it until `stop`; an error is logged once, however often it comes."""
        said = ""
        while not self.stopping.is_set():
            try:
                self._action()
                said = ""
            except (SiglipError, psycopg.Error, KombuError, RedisError, OSError) as error:
                message = " ".join(str(error).split())
                if message != said:
                    logger.warning("%s: %s", self._name, message)
                said = message
            self.stopping.wait(self._every_s)


def stop_process() -> None:
    """End this worker as SIGTERM would: what is in work is handed back."""
    os.kill(os.getpid(), signal.SIGTERM)


def end_process() -> None:
    """End this worker at once: a thread that hangs would keep it from ending in order."""
    logging.shutdown()
    os._exit(1)
