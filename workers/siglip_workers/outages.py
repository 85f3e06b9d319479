"""Retries through a restart of PostgreSQL."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from siglip_ingest.errors import DatabaseError

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 5.0


def retry_through_outages(
    action: Callable[[], T], *, patience_s: float, is_ending: Callable[[], bool] = lambda: False
) -> T:
    """Do something in the database; while PostgreSQL is away or busy with others, try again, ever more slowly.

    What it refuses for good, for lack of rights say, is raised at once.

    Args:
        action: A whole transaction that may run twice.
        patience_s: Once so many seconds have passed, the error is raised.
        is_ending: Whether the worker ends: then it is raised at once.
    """
    give_up_at = time.monotonic() + patience_s
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return action()
        except DatabaseError as error:
            if not error.is_retryable or is_ending() or time.monotonic() + pause_s > give_up_at:
                raise
            logger.warning("PostgreSQL: %s; trying again in %.1f s.", str(error).strip(), pause_s)
            time.sleep(pause_s)
            pause_s = min(LAST_PAUSE_S, 2 * pause_s)
