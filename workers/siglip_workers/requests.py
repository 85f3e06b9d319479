"""Messages that nobody acknowledges: what is to do is known to the ledger, not to Redis."""

from __future__ import annotations

from celery import Task
from celery.worker.request import Request


class UnacknowledgedRequest(Request):  # type: ignore[misc]  # Celery has no types
    """A message of a queue that wants no acknowledgement.

    Celery would send one nevertheless; and where Redis was away in between, it goes to a channel that is closed, which
    ends the worker with an AttributeError (kombu 5.7).
    """

    def acknowledge(self) -> None:
        """Only note it."""
        self.acknowledged = True


class UnacknowledgedTask(Task):  # type: ignore[misc]
    """Base of the app's tasks."""

    Request = "siglip_workers.requests:UnacknowledgedRequest"
