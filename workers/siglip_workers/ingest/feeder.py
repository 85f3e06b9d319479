"""Feeds the stream: claims items from the ledger ahead of the device, for as long as there are any.

A ticket carries no work: it only has the feeder look at once. One that is lost, doubled, old or forged changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from siglip_ingest.db import Connection, Database, items
from siglip_ingest.errors import DatabaseError
from siglip_ingest.settings import Settings
from siglip_workers.ingest.stream import Stream
from siglip_workers.ingest.work import Work
from siglip_workers.threads import StoppableThread, end_process, stop_process

logger = logging.getLogger(__name__)

IDLE_S = 0.5  # without a ticket or a notification, the ledger is looked at this often
OUTAGE_PAUSE_S = 1.0
SUSPECTS_EVERY_S = 5.0
SUSPECTS_AT_ONCE = 64
STALL_S = 900.0  # what hasn't moved for so long doesn't move any more
CONFIRM_S = 5.0  # and still doesn't after these


class Feeder(StoppableThread):
    """A thread. Survives restarts of PostgreSQL."""

    def __init__(
        self,
        database: Database,
        stream: Stream,
        worker_id: UUID,
        model_id: int,
        settings: Settings,
        *,
        stop_worker: Callable[[], None] = stop_process,
        end_worker: Callable[[], None] = end_process,
    ) -> None:
        """Make a feeder.

        Args:
            database: Has the ledger.
            stream: Embeds.
            worker_id: Under which items are claimed.
            model_id: Of the model on the device.
            settings: The worker's.
            stop_worker: Asks this worker to end; what is in work is handed back.
            end_worker: Ends it at once.
        """
        super().__init__("feeder")
        self._database = database
        self._stream = stream
        self._worker_id = worker_id
        self._model_id = model_id
        self._chunk_size = settings.chunk_size
        self._max_attempts = settings.max_attempts
        self._stop_worker = stop_worker
        self._end_worker = end_worker
        self._claiming = threading.Lock()
        self._news = threading.Event()
        self._looked_for_suspects_at = -SUSPECTS_EVERY_S
        self._stalled_at: float | None = None
        self.ticket_at = time.monotonic()  # when the last one came
        self.is_waiting = False  # for news

    def take_ticket(self, model_id: object) -> None:
        """Look at the ledger at once, if the ticket is for this worker's model."""
        self.ticket_at = time.monotonic()
        if model_id == self._model_id:
            self.look()

    def look(self) -> None:
        """Look at the ledger at once."""
        self._news.set()

    def look_for_suspects(self) -> None:
        """Look at once for items whose worker was lost."""
        self._looked_for_suspects_at = -SUSPECTS_EVERY_S
        self.look()

    def run(self) -> None:
        """Feed until `stop`, through outages of PostgreSQL."""
        outage = ""
        while not self.stopping.is_set():
            try:
                if not self.feed():
                    self.is_waiting = True
                    self._news.wait(IDLE_S)
                    self._news.clear()
                    self.is_waiting = False
                outage = ""
            except DatabaseError as error:
                if not error.is_retryable:
                    logger.error("%s The worker stops: it can't do its work.", str(error).strip())  # noqa: TRY400
                    self._stop_worker()
                    return
                if not outage:
                    logger.warning("PostgreSQL: %s; trying again every %.0f s.", str(error).strip(), OUTAGE_PAUSE_S)
                outage = str(error)
                self.stopping.wait(OUTAGE_PAUSE_S)

    def feed(self) -> bool:
        """Wait for room, and claim what there is room for; returns whether it is worth looking again at once.

        Raises:
            DatabaseError: If PostgreSQL doesn't answer.
        """
        self._end_if_stalled()
        self._feed_suspects()
        if self.stopping.is_set() or not self._stream.wait_for_room(IDLE_S):
            return True
        limit = min(self._stream.room, self._chunk_size)
        return (
            self._claim(
                lambda connection, token: items.claim_items(connection, self._worker_id, self._model_id, limit, token)
            )
            > 0
        )

    def release_strays(self) -> None:
        """Hand back what is claimed in this worker's name and not in work: the answer to a claim was lost, say.

        Raises:
            DatabaseError: If PostgreSQL doesn't answer.
        """
        with self._claiming, self._database.connection() as connection:
            items.release_strays(connection, self._worker_id, self._stream.progress.tokens)

    def _feed_suspects(self) -> None:
        """Where workers were lost, embed what they had, with nothing else in the stream that could be lost with it."""
        now = time.monotonic()
        if now - self._looked_for_suspects_at < SUSPECTS_EVERY_S:
            return
        while not self.stopping.is_set():
            with self._database.connection() as connection:
                if not items.has_suspects(connection, self._model_id):
                    break
            self._drain()
            count = self._claim(
                lambda connection, token: items.claim_suspects(
                    connection,
                    self._worker_id,
                    self._model_id,
                    SUSPECTS_AT_ONCE,
                    token,
                    max_attempts=self._max_attempts,
                )
            )
            if not count:
                break  # other workers have them
            self._drain()
        self._looked_for_suspects_at = now

    def _drain(self) -> None:
        while not (self.stopping.is_set() or self._stream.progress.wait_until(0, IDLE_S)):
            self._end_if_stalled()

    def _claim(self, claim: Callable[[Connection, UUID], list[items.ItemRow]]) -> int:
        """Make a claim and feed it to the stream; returns how many items it got."""
        token = uuid4()
        with self._claiming, self._stream.progress.claim(token):
            with self._database.connection() as connection:
                claimed = claim(connection, token)
            self._stream.put([Work(item, token) for item in claimed])
        return len(claimed)

    def _end_if_stalled(self) -> None:
        """Where a thread hangs, leave its items to another worker, and end: it can't be ended alone."""
        tokens = self._stream.find_stalled(STALL_S)
        now = time.monotonic()
        if not tokens:
            self._stalled_at = None
            return
        self._stalled_at = self._stalled_at or now
        if now - self._stalled_at < CONFIRM_S:
            return  # a process that was suspended goes on within moments
        logger.error(
            "An image hasn't moved for %.0f s. It is left to another worker; this one ends, to be started again.",
            STALL_S,
        )
        try:
            with self._database.connection() as connection:
                items.release_strays(connection, self._worker_id, list(tokens))
                items.disown_items(connection, self._worker_id, list(tokens))
        except DatabaseError as reason:
            logger.warning("It could not be left: %s", reason)
        self.stop()
        self._end_worker()
