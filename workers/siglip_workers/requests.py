"""A Celery request that tolerates a late acknowledgement."""

from __future__ import annotations

import logging

from celery import Task
from celery.worker.request import Request

logger = logging.getLogger(__name__)


class ForgivingRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A message that outlives its connection.

    Where Redis was away since it came, its channel is closed, and an acknowledgement would end the worker with an
    AttributeError (kombu 5.7). Redis delivers the message once more, later, and that changes nothing.
    """

    def acknowledge(self) -> None:
        """Acknowledge it, if that can still be done."""
        try:
            super().acknowledge()
        except Exception as error:  # noqa: BLE001  # whatever a closed channel raises
            logger.debug("A message could not be acknowledged: %s: %s", type(error).__name__, error)
            self.acknowledged = True


class ForgivingTask(Task):  # type: ignore[misc]
    """Base of the app's tasks."""

    Request = "siglip_workers.requests:ForgivingRequest"
