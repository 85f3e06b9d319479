"""Watches the ledger: sends a ticket where there is work and room, and takes back the items of lost workers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import psycopg
from kombu.exceptions import KombuError
from redis.exceptions import RedisError

from siglip_ingest.db import Connection, Database, items, workers
from siglip_ingest.errors import DatabaseError
from siglip_ingest.settings import Settings
from siglip_workers.broker import Broker
from siglip_workers.ingest.ticket_handler import TicketHandler
from siglip_workers.threads import StoppableThread, stop_process

logger = logging.getLogger(__name__)

CHANNEL = "siglip_ingest_items"
IDLE_S = 0.5  # without a notification, the ledger is looked at this often
SWEEP_S = 1.0
OUTAGE_PAUSE_S = 1.0
RESEND_S = 1.0  # a ticket that brought no work within this may be lost: another one is sent
CONSUMER_STALL_S = 120.0  # tickets waited this long at an idle worker: Celery's consumer is stuck, and the worker ends


class LedgerWatcher(StoppableThread):
    """A thread. Survives restarts of PostgreSQL and of Redis."""

    def __init__(
        self,
        database: Database,
        broker: Broker,
        handler: TicketHandler,
        model_id: int,
        settings: Settings,
        *,
        stop_worker: Callable[[], None] = stop_process,
    ) -> None:
        super().__init__("ledger-watcher")
        self._database = database
        self._broker = broker
        self._handler = handler
        self._model_id = model_id
        self._max_attempts = settings.max_attempts
        self._stop_worker = stop_worker
        self._swept_at = -SWEEP_S
        self._sent_at = -RESEND_S
        self._ignored_since: float | None = None

    def run(self) -> None:
        """Send tickets and take items back until `stop`, through outages of PostgreSQL and Redis."""
        outage = ""
        while not self.stopping.is_set():
            try:
                with self._listen() as connection:
                    while not self.stopping.is_set():
                        self.attend()
                        if outage:
                            logger.info("PostgreSQL and Redis answer again.")
                            outage = ""
                        self._wait(connection)
            except (DatabaseError, psycopg.Error) as error:
                message = f"PostgreSQL: {str(error).strip()}"
            except (KombuError, RedisError, OSError) as error:
                message = f"Redis: {str(error).strip()}"
            else:
                continue
            if not outage:
                logger.warning("%s; trying again every %.0f s.", message, OUTAGE_PAUSE_S)
            outage = message
            self.stopping.wait(OUTAGE_PAUSE_S)

    def attend(self) -> None:
        """Look once: at what was lost, and at whether a ticket is needed."""
        now = time.monotonic()
        if now - self._swept_at >= SWEEP_S:
            self._swept_at = now
            self._sweep()
        if self._handler.has_room and (now - self._sent_at >= RESEND_S or self._handler.started_at > self._sent_at):
            with self._database.connection() as connection:
                is_queued = items.has_queued_items(connection, self._model_id, takes_suspects=self._handler.is_idle)
            if is_queued:
                self._check_consumer(now)
                self._sent_at = now
                self._broker.send_ticket(self._model_id)
            else:
                self._ignored_since = None

    def _listen(self) -> AbstractContextManager[Connection | None]:
        """A session that hears of new work; behind a pooler, without an address of the server itself, none."""
        return self._database.listen(CHANNEL) if self._database.has_sessions else nullcontext()

    def _wait(self, connection: Connection | None) -> None:
        if connection is None or not self._handler.is_idle:
            self.stopping.wait(IDLE_S)
            return
        for _ in connection.notifies(timeout=IDLE_S, stop_after=1):
            self._sent_at = -RESEND_S  # news: no need to wait for what was sent before

    def _check_consumer(self, now: float) -> None:
        """Notice that Celery takes no messages any more, as after some losses of Redis, though nothing says so."""
        is_ignored = self._handler.is_idle and self._broker.count_tickets(self._model_id) > 0
        if not is_ignored or self._ignored_since is None or self._handler.started_at > self._ignored_since:
            self._ignored_since = now if is_ignored else None
        elif now - self._ignored_since > CONSUMER_STALL_S:
            logger.error("This worker no longer takes messages from Redis; it stops, to be started again.")
            self._ignored_since = None
            self._stop_worker()

    def _sweep(self) -> None:
        """Requeue what other workers lost, and what this one claimed without knowing it (the answer was lost, say)."""
        with self._database.connection() as connection:
            swept = workers.requeue_lost(connection, self._max_attempts)
        self._handler.release_strays()
        if swept.requeued or swept.failed:
            logger.warning("A worker was lost: %d images queued again, %d failed.", swept.requeued, swept.failed)
        with self._database.connection() as connection:
            for node in workers.delete_lost_workers(connection):
                self._broker.forget_node(node)  # before the commit: if this one is killed here, another does it
