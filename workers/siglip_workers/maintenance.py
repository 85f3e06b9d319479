"""Builds and merges the indexes of the vectors beside a worker's other work; one worker at a time does it."""

from __future__ import annotations

import contextlib
import logging

import psycopg

from siglip_ingest.db import Connection, Database, segments
from siglip_ingest.errors import SiglipError
from siglip_workers.threads import StoppableThread

logger = logging.getLogger(__name__)

IDLE_S = 5.0


class Maintainer(StoppableThread):
    """A thread that calls `siglip.maintain` until nothing is left, and looks again every few seconds."""

    def __init__(self, database: Database) -> None:
        super().__init__("maintenance")
        self._database = database
        self._connection: Connection | None = None

    def run(self) -> None:
        """Maintain until `stop`. A role that may not stops it: then `siglip-ingest maintain` or pg_cron does it."""
        said = ""
        while not self.stopping.is_set():
            try:
                step = self._maintain()
                said = ""
            except (SiglipError, psycopg.Error) as error:
                if self.stopping.is_set():
                    return
                if _is_forbidden(error):
                    logger.info(
                        "This role may not maintain the segments; `siglip-ingest maintain` as their owner does."
                    )
                    return
                step, message = None, " ".join(str(error).split())
                if message != said:
                    logger.warning("maintenance: %s", message)
                said = message
            if step is None:
                self.stopping.wait(IDLE_S)
            else:
                logger.info("%s", step)

    def close(self) -> None:
        """Stop, cancel the step that is being done, which changes nothing then, and wait for the thread."""
        self.stop()
        if (connection := self._connection) is not None:
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=5)
        super().close()

    def _maintain(self) -> str | None:
        with self._database.connection() as connection:
            self._connection = connection
            try:
                return None if self.stopping.is_set() else segments.maintain(connection)
            finally:
                self._connection = None


def _is_forbidden(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return True
        error = error.__cause__
    return False
