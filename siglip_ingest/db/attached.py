"""Tables of the user that collections follow. The work is done by `siglip.follow_attached`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements

SQL = load_statements("attached")


@dataclass(frozen=True, slots=True)
class AttachedTable:
    """One row of `siglip.attached_tables`: a table that a collection follows.

    Attributes:
        table: Its name, with its schema where that is needed.
        id_columns: Names of the columns that tell its rows apart.
        uri_column: Name of the column with the images.
        metadata_columns: Names of the columns that become metadata.
        collection: What follows it.
        rows_waiting: Keys of changed rows that no worker has looked at yet.
        rows: Rows that have images.
        images: Their images; several rows may share one.
        embedded: Images that the active model has embedded.
        failed: Images that it can't embed.
        problem: Why changes can't be followed, a sentence; None where they are.
    """

    table: str
    id_columns: list[str]
    uri_column: str
    metadata_columns: list[str]
    collection: str
    rows_waiting: int
    rows: int
    images: int
    embedded: int
    failed: int
    problem: str | None


def attach_table(
    connection: Connection,
    table: str,
    uri_column: str,
    *,
    id_columns: Sequence[str] | None = None,
    collection: str | None = None,
    metadata_columns: Sequence[str] = (),
) -> int:
    """Have a collection follow a table; returns how many of its rows have something in the column.

    See `SiglipClient.attach_table`.
    """
    parameters = {
        "table": table,
        "uri_column": uri_column,
        "id_columns": None if id_columns is None else list(id_columns),
        "collection": collection,
        "metadata_columns": list(metadata_columns),
    }
    return int(_fetch_value(connection, SQL.attach_table, parameters))


def refresh_table(connection: Connection, table: str) -> int:
    """Have all rows of an attached table looked at again; returns how many have something in the image's column."""
    return int(_fetch_value(connection, SQL.refresh_attached, {"table": table}))


def detach_table(connection: Connection, table: str, *, delete_images: bool = False) -> int:
    """Stop following a table; returns how many images will be deleted."""
    return int(_fetch_value(connection, SQL.detach_table, {"table": table, "delete_images": delete_images}))


def list_attached(connection: Connection) -> list[AttachedTable]:
    """The attached tables, in the order in which they were attached."""
    return [AttachedTable(*row) for row in connection.execute(SQL.list_attached)]


def follow_attached(connection: Connection) -> int:
    """Turn some changes of attached tables into images that are queued or deleted; to be called until it returns 0.

    One session at a time does it; to another one it returns 0.

    Args:
        connection: In a transaction of its own, which may fail at any point and be run again.
    """
    return int(_fetch_value(connection, SQL.follow_attached, {}))


def _fetch_value(connection: Connection, statement: bytes, parameters: dict[str, Any]) -> Any:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None  # noqa: S101  # a function's result
    return row[0]
