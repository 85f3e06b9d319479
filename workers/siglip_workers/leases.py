"""Keeps the leases of the chunks in work from running out, for as long as the work moves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg

from siglip_ingest.db import Database, items
from siglip_ingest.errors import DatabaseError
from siglip_workers.threads import make_thread

logger = logging.getLogger(__name__)

RENEWALS_PER_LEASE = 3
STALL_S = 900.0  # work that hasn't moved for so long is left to another worker


class Lease:
    """One chunk's claim. `is_lost` turns true once it ran out and somebody else may have the items."""

    def __init__(self, token: UUID) -> None:
        self.token = token
        self.is_lost = False
        self._moved_at = time.monotonic()

    def touch(self) -> None:
        """Note that the work moves."""
        self._moved_at = time.monotonic()

    @property
    def is_stalled(self) -> bool:
        """True where the work hasn't moved for `STALL_S`."""
        return time.monotonic() - self._moved_at > STALL_S


class LeaseKeeper:
    """A thread that renews every held lease several times before it would run out."""

    def __init__(self, database: Database, lease_s: float) -> None:
        self._database = database
        self._lease_s = lease_s
        self._leases: dict[UUID, Lease] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = make_thread("lease-keeper", self._run)
        self._thread.start()

    @contextmanager
    def hold(self, token: UUID) -> Iterator[Lease | None]:
        """Renew a lease while the block runs; gives None where this process holds it already."""
        lease = Lease(token)
        with self._lock:
            is_held = self._leases.setdefault(token, lease) is not lease
        if is_held:
            yield None
            return
        try:
            yield lease
        finally:
            with self._lock:
                del self._leases[token]

    def close(self) -> None:
        """Stop renewing."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._lease_s / RENEWALS_PER_LEASE):
            with self._lock:
                held = list(self._leases.values())
            for lease in held:
                if lease.is_stalled:
                    logger.warning("A chunk hasn't moved for %.0f s; its images are left to another worker.", STALL_S)
                    lease.is_lost = True
                elif not lease.is_lost:
                    self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        try:
            with self._database.connection() as connection:
                lease.is_lost = not items.renew_lease(connection, lease.token, self._lease_s)
        except (DatabaseError, psycopg.Error) as error:
            logger.warning("A lease could not be renewed: %s", error)
