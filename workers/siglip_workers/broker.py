"""Reads queue lengths from Redis, and removes what Celery left behind."""

from __future__ import annotations

from typing import Any

from celery import Celery
from redis import Redis

from siglip_ingest.broker.tasks import waiting_key
from siglip_ingest.broker.tickets import images_queue, send_ticket

_TIMEOUT_S = 5.0
_BINDINGS = "_kombu.binding.celery.pidbox"  # kombu's: a set of <routing key> \x06\x16 <pattern> \x06\x16 <queue>
_SEPARATOR = b"\x06\x16"


class Broker:
    """The worker's Redis. Thread-safe.

    Its methods raise `redis.RedisError`, `kombu.exceptions.KombuError` or `OSError` where it doesn't answer.
    """

    def __init__(self, app: Celery, broker_url: str) -> None:
        self._app = app
        self._redis: Redis = Redis.from_url(
            broker_url, socket_connect_timeout=_TIMEOUT_S, socket_timeout=_TIMEOUT_S, socket_keepalive=True
        )

    def send_ticket(self, model_id: int) -> None:
        """Send one ticket to whichever worker of the model takes it."""
        self._redis.ping()  # where Redis is away, Celery would log and try for a while
        send_ticket(self._app, model_id)

    def count_tickets(self, model_id: int) -> int:
        """How many tickets wait."""
        count: Any = self._redis.llen(images_queue(model_id))
        return int(count)

    def is_waited_for(self, task_id: str) -> bool:
        """Whether a client waits for a task's result."""
        return bool(self._redis.exists(waiting_key(task_id)))

    def forget_node(self, node: str) -> None:
        """Take out what a worker's mailbox for `celery inspect` leaves in Redis: one entry for each start, for ever."""
        queue = f"{node}.celery.pidbox".encode()
        members: Any = self._redis.smembers(_BINDINGS)
        for member in members:
            if member.rpartition(_SEPARATOR)[2] == queue:
                self._redis.srem(_BINDINGS, member)
        self._redis.delete(queue)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
