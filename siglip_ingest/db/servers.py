"""Other PostgreSQL servers that hold segments. The work is that of `siglip.add_server` and `siglip.move_segment`."""

from __future__ import annotations

from dataclasses import dataclass

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.segments import SQL as SEGMENTS_SQL
from siglip_ingest.errors import NotFoundError

SQL = load_statements("servers")


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """One row of `siglip.servers`.

    Attributes:
        name: What it is called here.
        address: Host, port and database.
        segments: How many segments it holds.
        rows: About so many vectors.
        bytes: Of all tables there; None where it doesn't answer.
        unused_tables: What a move that was killed left there; `siglip-ingest maintain` removes it.
        is_reachable: Whether it answers; None where this role may not ask it.
    """

    name: str
    address: str
    segments: int
    rows: int
    bytes: int | None
    unused_tables: int | None
    is_reachable: bool | None


def list_servers(connection: Connection) -> list[ServerStatus]:
    """The other servers, in the order of their names. Each is asked whether it answers."""
    return [ServerStatus(*row) for row in connection.execute(SQL.list_servers)]


def add_server(connection: Connection, name: str, url: str) -> None:
    """Prepare a server for segments, or change the address of one that is there already."""
    connection.execute(SQL.add_server, {"name": name, "url": url})


def remove_server(connection: Connection, name: str) -> None:
    """Forget a server that holds no segments, and take away what was prepared there."""
    connection.execute(SQL.remove_server, {"name": name})


def move_segment(connection: Connection, segment: str, server: str | None) -> int:
    """Move a closed segment to a server, or, with None, back; searches and workers go on meanwhile.

    Args:
        connection: In a transaction of its own: what a move locks is held until it ends.
        segment: Name of its table, as in `siglip.index_status`.
        server: Name of a server.

    Returns:
        How many vectors it has.

    Raises:
        NotFoundError: If there is no such segment.
    """
    connection.execute(SEGMENTS_SQL.lift_timeout)
    if connection.execute(SQL.find_segment, {"segment": segment}).fetchone() is None:
        raise NotFoundError(f"There is no segment {segment}. `siglip-ingest maintain --status` lists them.")
    row = connection.execute(SQL.move_segment, {"segment": segment, "server": server}).fetchone()
    return 0 if row is None else int(row[0])
