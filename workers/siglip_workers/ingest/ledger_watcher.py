"""Watches the ledger: hears of new work, and takes back the items of lost workers.

While it listens, it holds a lock under the worker's id. PostgreSQL lets go of that lock when the connection ends, so
that other workers see within seconds that a process was killed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from siglip_ingest.db import Connection, Database, workers
from siglip_ingest.errors import DatabaseError
from siglip_ingest.settings import Settings
from siglip_workers.broker import Broker
from siglip_workers.ingest.feeder import Feeder
from siglip_workers.threads import StoppableThread, stop_process

logger = logging.getLogger(__name__)

CHANNEL = "siglip_ingest_items"
ATTACHED = "attached"  # what is said there of changes of attached tables
IDLE_S = 0.5
SWEEP_S = 1.0
OUTAGE_PAUSE_S = 1.0
CHECK_CONSUMER_S = 10.0
CONSUMER_STALL_S = 120.0  # tickets waited this long while none came: Celery's consumer is stuck, and the worker ends
PROBE_S = 60.0  # a ticket is sent this often to find that out


class LedgerWatcher(StoppableThread):
    """A thread. Survives restarts of PostgreSQL and of Redis.

    Attributes:
        is_listening: Whether it holds the lock that shows that the worker lives.
    """

    def __init__(
        self,
        database: Database,
        broker: Broker,
        feeder: Feeder,
        worker_id: UUID,
        model_id: int,
        settings: Settings,
        *,
        stop_worker: Callable[[], None] = stop_process,
        on_attached: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__("ledger-watcher")
        self.is_listening = False
        self._database = database
        self._broker = broker
        self._feeder = feeder
        self._worker_id = worker_id
        self._model_id = model_id
        self._max_attempts = settings.max_attempts
        self._stop_worker = stop_worker
        self._on_attached = on_attached
        self._away: set[str] = set()
        self._swept_at = -SWEEP_S
        self._checked_at = self._probed_at = time.monotonic()
        self._ignored_since: float | None = None

    def run(self) -> None:
        """Listen and take items back until `stop`, through outages of PostgreSQL and Redis."""
        while not self.stopping.is_set():
            with self._reported_outages("PostgreSQL", DatabaseError, psycopg.Error), self._listen() as connection:
                while not self.stopping.is_set():
                    with self._reported_outages("Redis", KombuError, RedisError, OSError):
                        self.attend()
                    self._wait(connection)

    def attend(self) -> None:
        """Look once: at what was lost, and at whether messages still come."""
        now = time.monotonic()
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            self._sweep()
        if now - self._checked_at >= CHECK_CONSUMER_S:
            self._checked_at = now
            self._check_consumer(now)

    @contextmanager
    def _reported_outages(self, server: str, *errors: type[Exception]) -> Iterator[None]:
        """Say once that a server is away, and once that it is back; wait a moment after each failure."""
        try:
            yield
        except errors as error:
            if server not in self._away:
                logger.warning("%s: %s; trying again every %.0f s.", server, str(error).strip(), OUTAGE_PAUSE_S)
            self._away.add(server)
            self.stopping.wait(OUTAGE_PAUSE_S)
        else:
            self._note_answer(server)

    def _note_answer(self, server: str) -> None:
        if server in self._away:
            logger.info("%s answers again.", server)
            self._away.discard(server)

    @contextmanager
    def _listen(self) -> Iterator[Connection | None]:
        """A session that hears of new work; behind a pooler, without an address of the server itself, none."""
        if not self._database.has_sessions:
            yield None
            return
        with self._database.listen(CHANNEL) as connection:
            workers.hold_worker_lock(connection, self._worker_id)
            self.is_listening = True
            self._note_answer("PostgreSQL")
            self._feeder.look()  # what was queued before this is no news
            try:
                yield connection
            finally:
                self.is_listening = False

    def _wait(self, connection: Connection | None) -> None:
        if connection is None:
            self.stopping.wait(IDLE_S)
            return
        for notification in connection.notifies(timeout=IDLE_S, stop_after=1):
            if notification.payload == str(self._model_id):
                self._feeder.look()
            elif notification.payload == ATTACHED:
                self._on_attached()

    def _check_consumer(self, now: float) -> None:
        """Notice that Celery takes no messages any more, as after some losses of Redis, though nothing says so."""
        tickets = self._broker.count_tickets(self._model_id)
        if tickets == 0 or self._feeder.ticket_at > now - CHECK_CONSUMER_S:
            self._ignored_since = None
        elif self._ignored_since is None:
            self._ignored_since = now
        elif now - self._ignored_since > CONSUMER_STALL_S:
            logger.error("This worker no longer takes messages from Redis; it stops, to be started again.")
            self._ignored_since = None
            self._stop_worker()
        if tickets == 0 and now - self._probed_at >= PROBE_S:
            self._probed_at = now
            self._broker.send_ticket(self._model_id)

    def _sweep(self) -> None:
        """Requeue what other workers lost, and what this one claimed without knowing it (the answer was lost, say)."""
        with self._database.connection() as connection:
            swept = workers.requeue_lost(connection, self._max_attempts, own_id=self._worker_id)
        self._feeder.release_strays()
        if swept.requeued or swept.failed:
            logger.warning("A worker was lost: %d images queued again, %d failed.", swept.requeued, swept.failed)
            self._feeder.look_for_suspects()
        with self._database.connection() as connection:
            for node in workers.delete_lost_workers(connection):
                self._broker.forget_node(node)  # before the commit: if this one is killed here, another does it
