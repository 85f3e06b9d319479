"""Threads that a worker can't do without: when one of them ends for an unforeseen reason, so does the worker."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

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


def stop_process() -> None:
    """End this worker as SIGTERM would: what is in work is handed back."""
    os.kill(os.getpid(), signal.SIGTERM)
