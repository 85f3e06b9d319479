"""Tickets: Celery messages that tell workers that images are queued. A lost one only delays the work."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery import Celery

logger = logging.getLogger(__name__)

EMBED_IMAGES = "siglip.embed_images"
IMAGES_PER_TICKET = 64  # about what a worker claims for one
MAX_TICKETS = 8  # a worker that ends one sends the next, so that a few start any number of workers
CONNECT_TIMEOUT_S = 1.0
_TIMEOUTS = {"socket_connect_timeout": CONNECT_TIMEOUT_S, "socket_timeout": CONNECT_TIMEOUT_S}
PAUSE_S = 30.0  # a broker that didn't answer isn't asked again for so long


def images_queue(model_id: int) -> str:
    """Name of the queue that the tickets of one model wait in; every worker of the model takes from it."""
    return f"siglip.images.{model_id}"


class TicketSender:
    """Sends tickets, if the broker is up. Thread-safe; Celery is imported with the first ticket."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._lock = threading.Lock()
        self._app: Celery | None = None
        self._quiet_until = 0.0

    def send(self, model_id: int, images: int) -> int:
        """Send tickets for so many images; returns how many were sent, 0 where the broker doesn't answer."""
        if not images or time.monotonic() < self._quiet_until:
            return 0
        count = min(MAX_TICKETS, -(-images // IMAGES_PER_TICKET))
        from kombu.exceptions import KombuError
        from redis import Redis
        from redis.exceptions import RedisError

        try:
            # First of all: where Redis is away, Celery would log and try for a while.
            with Redis.from_url(self._broker_url, **_TIMEOUTS) as redis:
                redis.ping()
            with self._lock, self._open().connection_for_write() as connection:
                for _ in range(count):
                    send_ticket(self._open(), model_id, connection=connection)
        except (KombuError, RedisError, OSError) as error:
            logger.info("No ticket was sent; workers find the images by themselves. %s", error)
            self._quiet_until = time.monotonic() + PAUSE_S
            return 0
        return count

    def _open(self) -> Celery:
        if self._app is None:
            from celery import Celery

            self._app = Celery("siglip_ingest", broker=self._broker_url, set_as_current=False)
            self._app.conf.update(
                accept_content=["json"],
                broker_transport_options={**_TIMEOUTS, "max_retries": 1},
                task_ignore_result=True,
            )
        return self._app


def send_ticket(app: Celery, model_id: int, **options: object) -> None:
    """Send one ticket to whichever worker of a model takes it.

    Raises:
        KombuError, RedisError, OSError: If the broker doesn't answer.
    """
    app.send_task(
        EMBED_IMAGES, args=[model_id], queue=images_queue(model_id), retry=False, ignore_result=True, **options
    )
