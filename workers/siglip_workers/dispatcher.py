"""Brings queued images to this worker: claims a chunk in the ledger, and sends it to this worker's own queue.

At most two chunks of a worker are out at a time, so that queries find a free thread. What was sent and never started
(Redis lost it, or the consumer hangs) is handed back and claimed anew: the ledger is the truth, Redis and Celery
only carry.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from uuid import UUID

import psycopg
from celery import Celery
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from siglip_ingest.db import Database, items
from siglip_ingest.errors import DatabaseError
from siglip_ingest.settings import Settings
from siglip_workers.threads import make_thread, stop_process

logger = logging.getLogger(__name__)

CHANNEL = "siglip_ingest_items"
CHUNKS_IN_FLIGHT = 2
IDLE_S = 0.5  # without a notification, the ledger is looked at this often
SWEEP_S = 5.0  # expired leases are looked for this often
OUTAGE_PAUSE_S = 1.0
START_TIMEOUT_S = 15.0  # a chunk that wasn't started within this is handed back
HOPELESS_S = 120.0  # nothing started for so long, and the worker ends itself: its consumer hangs


@dataclass(slots=True)
class _Flight:
    """A chunk that was sent and hasn't ended; `is_alone` where no other may be out beside it."""

    sent_at: float
    is_alone: bool
    is_started: bool = False


class Dispatcher:
    """A thread that claims and sends. Survives restarts of PostgreSQL and of Redis."""

    def __init__(self, app: Celery, queue: str, database: Database, model_id: int, settings: Settings) -> None:
        self._app = app
        self._queue = queue
        self._database = database
        self._model_id = model_id
        self._settings = settings
        self._chunk_size = max(settings.chunk_size, settings.batch_size)
        self._start_timeout_s = min(START_TIMEOUT_S, settings.lease_s / 2)
        self._flights: dict[UUID, _Flight] = {}
        self._give_back: set[UUID] = set()
        self._losing_since: float | None = None
        self._wants_to_be_alone = False
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = make_thread("dispatcher", self._run)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def stop(self) -> None:
        """Claim no more."""
        self._stopping.set()
        self._changed.set()

    def close(self) -> None:
        """Stop, and hand back what was sent and not started."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            self._give_back.update(token for token, flight in self._flights.items() if not flight.is_started)
        try:
            self._hand_back()
        except (DatabaseError, psycopg.Error) as error:
            logger.warning("Claimed images could not be handed back; their leases will run out. %s", str(error).strip())

    def note_started(self, lease_token: UUID) -> None:
        """A task thread has the chunk."""
        with self._lock:
            self._losing_since = None
            if flight := self._flights.get(lease_token):
                flight.is_started = True

    def note_ended(self, lease_token: UUID, *, is_handled: bool) -> None:
        """A chunk has left its thread; where it wasn't handled to its end, its items are handed back."""
        with self._lock:
            self._flights.pop(lease_token, None)
            if not is_handled:
                self._give_back.add(lease_token)
        self._changed.set()

    def _run(self) -> None:
        outage = ""
        while not self._stopping.is_set():
            try:
                with self._database.listen(CHANNEL) as connection:
                    if outage:
                        logger.info("PostgreSQL and Redis answer again.")
                        outage = ""
                    self._dispatch(connection)
            except (DatabaseError, psycopg.Error) as error:
                message = f"PostgreSQL: {str(error).strip()}"
            except (KombuError, RedisError, OSError) as error:
                message = f"Redis: {str(error).strip()}"
            else:
                continue
            if not outage:
                logger.warning("%s; trying again every %.0f s.", message, OUTAGE_PAUSE_S)
            outage = message
            self._stopping.wait(OUTAGE_PAUSE_S)

    def _dispatch(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        swept_at = -SWEEP_S
        while not self._stopping.is_set():
            self._changed.clear()
            if time.monotonic() - swept_at >= min(SWEEP_S, self._settings.lease_s / 2):
                self._sweep()
                swept_at = time.monotonic()
            self._hand_back()
            if self._has_room() and self._send_chunk():
                continue
            if self._flights:
                self._changed.wait(IDLE_S)
            else:
                for _ in connection.notifies(timeout=IDLE_S, stop_after=1):
                    pass

    def _has_room(self) -> bool:
        with self._lock:
            if self._wants_to_be_alone:
                return not self._flights
            return len(self._flights) < CHUNKS_IN_FLIGHT and not any(
                flight.is_alone for flight in self._flights.values()
            )

    def _send_chunk(self) -> bool:
        """Claim a chunk and send it; False where nothing is queued.

        A single image on its second attempt may be what killed a worker. Should it do so again, nothing else may be
        lost with it: it is sent once this worker has nothing else to do.
        """
        with self._database.connection() as connection:
            chunk = items.claim_items(connection, self._model_id, self._chunk_size, self._settings.lease_s)
            if chunk is None:
                self._wants_to_be_alone = False
                return False
            is_alone = len(chunk.items) == 1 and chunk.items[0].attempts > 1
            self._wants_to_be_alone = is_alone and bool(self._flights)
            if self._wants_to_be_alone:
                items.release_items(connection, chunk.lease_token)
                return False
        with self._lock:
            self._flights[chunk.lease_token] = _Flight(sent_at=time.monotonic(), is_alone=is_alone)
        item_ids = [item.item_id for item in chunk.items]
        try:
            self._app.send_task(
                "siglip.embed_images",
                args=[self._model_id, str(chunk.lease_token), item_ids],
                queue=self._queue,
                retry=False,
            )
        except BaseException:
            self.note_ended(chunk.lease_token, is_handled=False)
            self._hand_back()
            raise
        return True

    def _hand_back(self) -> None:
        with self._lock:
            tokens = list(self._give_back)
        for token in tokens:
            with self._database.connection() as connection:
                items.release_items(connection, token)
            with self._lock:
                self._give_back.discard(token)

    def _sweep(self) -> None:
        """Requeue what other workers lost, and hand back what this one never started."""
        with self._database.connection() as connection:
            swept = items.requeue_expired(connection, self._settings.max_attempts)
        if swept.requeued or swept.failed:
            logger.warning("Leases ran out: %d images queued again, %d failed.", swept.requeued, swept.failed)
        now = time.monotonic()
        with self._lock:
            lost = [
                token
                for token, flight in self._flights.items()
                if not flight.is_started and now - flight.sent_at > self._start_timeout_s
            ]
            for token in lost:
                del self._flights[token]
            self._give_back.update(lost)
            if lost and self._losing_since is None:
                self._losing_since = now
            is_hopeless = self._losing_since is not None and now - self._losing_since > HOPELESS_S
        if lost:
            logger.warning("Sent and never started: %d chunks; their images go back to the queue.", len(lost))
        if is_hopeless:
            logger.error("This worker no longer takes messages from Redis; it stops, to be started again.")
            self._losing_since = None
            stop_process()
