"""Follows the attached tables: turns changes that their triggers noted into images; one worker at a time does it."""

from __future__ import annotations

import logging
import threading

import psycopg

from siglip_ingest.db import Database, attached
from siglip_ingest.errors import SiglipError
from siglip_workers.threads import StoppableThread, is_forbidden

logger = logging.getLogger(__name__)

IDLE_S = 1.0  # without word of a change, it looks this often
OUTAGE_PAUSE_S = 1.0


class AttachedFollower(StoppableThread):
    """A thread that calls `siglip.follow_attached` until nothing is left, and again when it hears of a change."""

    def __init__(self, database: Database) -> None:
        super().__init__("attached-follower")
        self._database = database
        self._news = threading.Event()

    def look(self) -> None:
        """Look at once."""
        self._news.set()

    def run(self) -> None:
        """Follow until `stop`, through outages of PostgreSQL; a role that may not leaves it to others."""
        said = ""
        while not self.stopping.is_set():
            self._news.clear()
            try:
                while not self.stopping.is_set() and self.follow():
                    pass
                said = ""
            except (SiglipError, psycopg.Error) as error:
                if is_forbidden(error):
                    logger.info(
                        "This role may not follow attached tables; other workers, or siglip.follow_attached, do."
                    )
                    return
                message = " ".join(str(error).split())
                if message != said:
                    logger.warning("attached tables: %s", message)
                said = message
                self.stopping.wait(OUTAGE_PAUSE_S)
            self._news.wait(IDLE_S)

    def stop(self) -> None:
        """End the loop. Sets flags only: for signal handlers."""
        super().stop()
        self._news.set()

    def follow(self) -> int:
        """Do some of what there is to do, in a transaction; returns about how many rows that were.

        Raises:
            SiglipError: If PostgreSQL doesn't answer, or refuses.
        """
        return self._database.transact(attached.follow_attached)
