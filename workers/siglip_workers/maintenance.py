"""Builds and merges the indexes of the vectors and frees the space of dropped models, beside a worker's other work."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

import psycopg

from siglip_ingest.db import Connection, Database, model_changes, segments
from siglip_ingest.errors import SiglipError
from siglip_workers.threads import StoppableThread, is_forbidden

logger = logging.getLogger(__name__)

IDLE_S = 5.0


class Maintainer(StoppableThread):
    """A thread that does what `siglip.maintain` and `siglip.free_dropped` do, and looks again every few seconds.

    Of several workers, one at a time does it.
    """

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
                if is_forbidden(error):
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
        """A step for the segments; where they need nothing, one that frees the space of a dropped model."""
        return self._do(segments.maintain) or self._do(model_changes.free_dropped)

    def _do(self, step: Callable[[Connection], str | None]) -> str | None:
        """Do a step in a transaction of its own, which `close` can cancel."""
        with self._database.connection() as connection:
            self._connection = connection
            try:
                return None if self.stopping.is_set() else step(connection)
            finally:
                self._connection = None
