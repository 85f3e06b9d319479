"""Reading what `siglip.embed_text` writes into the write-ahead log, through a temporary logical replication slot.

Needs `wal_level = logical` and a role with REPLICATION. The slot ends with its connection, so that a dead worker holds
back no log.
"""

from __future__ import annotations

from typing import cast

from siglip_ingest.db.pool import Connection
from siglip_ingest.db.statements import load_statement

SLOT_PREFIX = "siglip_texts_"  # siglip.embed_text looks for slots of such names to know whether anybody listens


def create_slot(connection: Connection, slot_name: str) -> None:
    """Begin to listen: messages from now on can be read.

    Args:
        connection: In autocommit mode, and kept for as long as the slot is needed.
        slot_name: Begins with `SLOT_PREFIX`, unique in the server: lower-case letters, digits and underscores.

    Raises:
        psycopg.errors.ObjectNotInPrerequisiteState: If `wal_level` isn't `logical`.
        psycopg.errors.InsufficientPrivilege: If the role has no REPLICATION.
    """
    connection.execute(load_statement("create_slot"), {"slot_name": slot_name})


def read_log_position(connection: Connection) -> str:
    """Say how far the log reaches: while that stays the same, `read_changes`, which costs far more, has nothing new."""
    row = connection.execute(load_statement("get_log_position")).fetchone()
    return cast("tuple[str]", row)[0]


def read_changes(connection: Connection, slot_name: str) -> list[bytes]:
    """Take what came since the last time, as pgoutput writes it (protocol version 1); doesn't wait."""
    rows = connection.execute(load_statement("read_changes"), {"slot_name": slot_name}).fetchall()
    return [cast("bytes", data) for (data,) in rows]
