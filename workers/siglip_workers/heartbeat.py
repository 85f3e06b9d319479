"""A worker's signs of life, and what to do where PostgreSQL gives none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from siglip_ingest.db import Database
from siglip_workers.threads import Repeater, StoppableThread

logger = logging.getLogger(__name__)

SILENCE_S = 4.0  # a sign of life takes milliseconds; one that takes so long gets no answer any more
LOOK_S = 0.5


class Heartbeat(Repeater):
    """A thread that gives the signs of life."""

    def __init__(self, beat: Callable[[], None], every_s: float) -> None:
        super().__init__("heartbeat", self._beat_once, every_s)
        self._beat = beat
        self.began_at: float | None = None  # the sign of life that is on its way

    def _beat_once(self) -> None:
        self.began_at = time.monotonic()
        try:
            self._beat()
        finally:
            self.began_at = None


class SilenceGuard(StoppableThread):
    """A thread that cuts the connections to PostgreSQL where a sign of life gets no answer.

    Where a firewall or a proxy has forgotten the connections, every thread that asks PostgreSQL would wait for ever.
    """

    def __init__(self, databases: Sequence[Database], heartbeat: Heartbeat) -> None:
        super().__init__("silence-guard")
        self._databases = databases
        self._heartbeat = heartbeat

    def run(self) -> None:
        """Look until `stop`."""
        cut_for: float | None = None
        while not self.stopping.wait(LOOK_S):
            began_at = self._heartbeat.began_at
            if began_at is None or began_at == cut_for or time.monotonic() - began_at < SILENCE_S:
                continue
            cut_for = began_at
            logger.warning("PostgreSQL hasn't answered for %.0f s; its connections are opened anew.", SILENCE_S)
            for database in self._databases:
                database.cut_connections()
