"""Brings the kept labels of images up to date beside a worker's other work; one worker at a time does it."""

from __future__ import annotations

import psycopg

from siglip_ingest.db import Database, labels
from siglip_ingest.errors import SiglipError
from siglip_workers.threads import StoppableThread, is_forbidden, logger

IDLE_S = 2.0


class LabelKeeper(StoppableThread):
    """A thread that calls `siglip.refresh_labels` until nothing is left, and looks again every few seconds."""

    def __init__(self, database: Database) -> None:
        super().__init__("kept labels")
        self._database = database

    def run(self) -> None:
        """Refresh until `stop`. A role that may not write labels stops it: then another worker, or SQL, does it."""
        said = ""
        while not self.stopping.is_set():
            done = 0
            try:
                done = self._database.transact(labels.refresh_labels)
                said = ""
            except (SiglipError, psycopg.Error) as error:
                if is_forbidden(error):
                    logger.info(
                        "This role may not write siglip.image_labels; `SELECT siglip.refresh_labels()` does it."
                    )
                    return
                message = " ".join(str(error).split())
                if message != said and not self.stopping.is_set():
                    logger.warning("kept labels: %s", message)
                said = message
            if not done:
                self.stopping.wait(IDLE_S)
