"""Lets one migrator in at a time."""

from __future__ import annotations

import time

import psycopg

MIGRATION_LOCK = 0x5349474C4950  # the letters SIGLIP: any number that nobody else takes
LOCK_TIMEOUT_S = 600.0
RETRY_S = 0.05


def take_migration_lock(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Wait until no other migrator works on the database; the lock ends with the connection.

    Tried again and again instead of waited for: a waiting statement holds a snapshot, and CREATE INDEX CONCURRENTLY in
    the other migrator would wait for that.

    Args:
        connection: In autocommit mode.

    Raises:
        TimeoutError: If another migration runs for ten minutes.
    """
    give_up_at = time.monotonic() + LOCK_TIMEOUT_S
    while connection.execute("SELECT pg_try_advisory_lock(%s)", [MIGRATION_LOCK]).fetchone() != (True,):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"Another migration has been running on this database for {LOCK_TIMEOUT_S:.0f} s.")
        time.sleep(RETRY_S)
