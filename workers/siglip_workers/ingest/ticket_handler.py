"""What a worker does with a ticket: claims a chunk from the ledger, feeds it to the stream, closes its items.

A ticket carries no work. One that is lost, doubled, old or forged changes nothing: a worker that sees work without a
ticket sends one (a ticket that ends, and the ledger watcher while the worker has room).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from siglip_ingest.db import Database, items
from siglip_ingest.errors import DatabaseError
from siglip_ingest.settings import Settings
from siglip_ingest.sources import hide_secrets
from siglip_workers.device import Device, DeviceError
from siglip_workers.ingest.outcome import Outcome, write_outcome
from siglip_workers.ingest.stream import StalledError, Stream
from siglip_workers.outages import retry_through_outages
from siglip_workers.threads import end_process, stop_process

logger = logging.getLogger(__name__)

MAX_TICKETS = 2  # in work at a time: one's images are prepared while the other's are embedded and written
OUTAGE_PATIENCE_S = 120.0  # vectors wait so long for PostgreSQL to come back


class TicketHandler:
    """Works on tickets; at most `MAX_TICKETS` at a time, further ones end at once. Thread-safe."""

    def __init__(
        self,
        database: Database,
        stream: Stream,
        device: Device,
        worker_id: UUID,
        model_id: int,
        settings: Settings,
        send_ticket: Callable[[], None],
        *,
        stop_worker: Callable[[], None] = stop_process,
        end_worker: Callable[[], None] = end_process,
    ) -> None:
        """Make a handler.

        Args:
            database: Has the ledger.
            stream: Embeds.
            device: Is asked how it is where a whole chunk failed on it.
            worker_id: Under which items are claimed.
            model_id: Of the model on the device.
            settings: The worker's.
            send_ticket: Sends a ticket to the model's queue; may fail silently.
            stop_worker: Asks this worker to end; what is in work is handed back.
            end_worker: Ends it at once.
        """
        self._database = database
        self._stream = stream
        self._device = device
        self._worker_id = worker_id
        self._model_id = model_id
        self._max_attempts = settings.max_attempts
        self._chunk_size = max(settings.chunk_size, settings.batch_size)
        self._send_ticket = send_ticket
        self._stop_worker = stop_worker
        self._end_worker = end_worker
        self._entering = threading.Lock()
        self._tokens: set[UUID] = set()
        self._has_suspect = False
        self._is_stopping = False
        self.started_at = time.monotonic()  # when a ticket last got work

    @property
    def has_room(self) -> bool:
        """Whether another ticket would get work, if the ledger has some."""
        return not (self._is_stopping or self._has_suspect) and len(self._tokens) < MAX_TICKETS

    @property
    def is_idle(self) -> bool:
        """Whether no ticket is in work."""
        return not self._tokens

    def stop(self) -> None:
        """Take no more tickets. Sets a flag only: for signal handlers."""
        self._is_stopping = True

    def work_on(self, model_id: object) -> dict[str, int]:
        """Work on one ticket; returns how many images are `done` and how many have `failed`.

        Whatever goes wrong, the claimed items end in the ledger or go back to the queue.
        """
        nothing = {"done": 0, "failed": 0}
        if model_id != self._model_id:
            return nothing
        token = uuid4()
        try:
            chunk = self._claim(token)
            if chunk is None:
                return nothing
            return self._work_on(chunk)
        except StalledError as error:
            self._end_stalled(token, error)
        except DeviceError as error:
            logger.error("%s The worker stops, to be started again.", error)  # noqa: TRY400  # the sentence says it all
            self._stop_worker()
        except DatabaseError as error:
            if error.is_retryable:
                logger.warning("A chunk goes back to the queue: %s", str(error).strip())
            else:
                logger.error("%s The worker stops: it can't do its work.", str(error).strip())  # noqa: TRY400
                self._stop_worker()
        finally:
            self._leave(token)
        return nothing

    def release_strays(self) -> None:
        """Hand back what is claimed in this worker's name and not in work: the answer to a claim was lost, say.

        Raises:
            DatabaseError: If PostgreSQL doesn't answer.
        """
        with self._entering, self._database.connection() as connection:
            items.release_strays(connection, self._worker_id, list(self._tokens))

    def _claim(self, token: UUID) -> items.Chunk | None:
        """Claim a chunk, one ticket at a time; None where there is no room or nothing is queued.

        An image that may be what killed a worker is taken only where nothing else could be lost with it, and nothing is
        taken beside it.
        """
        with self._entering:
            if not self.has_room:
                return None
            takes_suspects = self.is_idle
            self._tokens.add(token)  # before the claim: what is claimed under another token is handed back
            with self._database.connection() as connection:
                chunk = items.claim_items(
                    connection, self._worker_id, self._model_id, self._chunk_size, token, takes_suspects=takes_suspects
                )
            if chunk is not None:
                self.started_at = time.monotonic()
                self._has_suspect = chunk[0].is_suspect
            return None if chunk is None else items.Chunk(token, chunk)

    def _work_on(self, chunk: items.Chunk) -> dict[str, int]:
        started = time.perf_counter()
        if len(chunk.items) == self._chunk_size and self.has_room:
            self._send_ticket()
        outcome = self._stream.embed(chunk.items)
        closed = retry_through_outages(
            lambda: write_outcome(self._database, self._model_id, chunk.lease_token, outcome, self._max_attempts),
            patience_s=OUTAGE_PATIENCE_S,
        )
        for item, error in outcome.failures:
            logger.warning("%s: %s [%s]", hide_secrets(item.uri), error, error.code)
        if closed.done:
            elapsed_s = time.perf_counter() - started
            logger.info(
                "Embedded %d images in %.2f s (%.1f images/s).", closed.done, elapsed_s, closed.done / elapsed_s
            )
        self._check_device(outcome)
        return {"done": closed.done, "failed": closed.failed}

    def _check_device(self, outcome: Outcome) -> None:
        """Where a whole chunk failed on the device, find out whether it is the device.

        Raises:
            DeviceError: If it is.
        """
        if outcome.rejected and not outcome.embeddings:
            self._device.check()

    def _end_stalled(self, token: UUID, error: StalledError) -> None:
        """Leave a chunk that doesn't move to another worker, and end: the thread that hangs can't be ended alone."""
        logger.error("%s It is left to another worker; this one ends, to be started again.", error)
        try:
            with self._database.connection() as connection:
                items.disown_items(connection, token)
        except DatabaseError as reason:
            logger.warning("The chunk could not be left: %s", reason)
        self._end_worker()

    def _leave(self, token: UUID) -> None:
        with self._entering:
            if token not in self._tokens:
                return  # there was no room: the holder looks for more
            self._tokens.discard(token)
            self._has_suspect = False
        if not self._is_stopping:
            self._send_ticket_if_queued()

    def _send_ticket_if_queued(self) -> None:
        try:
            with self._database.connection() as connection:
                is_queued = items.has_queued_items(connection, self._model_id, takes_suspects=self.is_idle)
        except DatabaseError:
            return  # the ledger watcher looks again
        if is_queued and self.has_room:
            self._send_ticket()
