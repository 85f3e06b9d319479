"""Segments of vectors: their state, and the maintenance that builds and merges them. The work is `siglip.maintain`."""

from __future__ import annotations

from dataclasses import dataclass

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements

SQL = load_statements("segments")


@dataclass(frozen=True, slots=True)
class SegmentStatus:
    """One row of `siglip.index_status`: a range of contents under one model.

    Attributes:
        model: Name of the checkpoint.
        segment: Name of its table.
        from_content_id: First content of its range; None where it has no lower bound.
        to_content_id: First content beyond; None where it is the open one.
        rows: About so many vectors.
        table_bytes: Of the vectors; None on another server.
        index_bytes: Of the index; None where there is none.
        index_kind: `halfvec` or `bit_rerank`; None where there is none.
        state: `open`, `closed`, `building`, `sealed`, `sealed without index`, or `on <server>`.
        is_complete: Whether searches of it are as fast as they can be.
        progress_percent: Of the index that is being built.
    """

    model: str
    segment: str
    from_content_id: int | None
    to_content_id: int | None
    rows: int
    table_bytes: int | None
    index_bytes: int | None
    index_kind: str | None
    state: str
    is_complete: bool
    progress_percent: float | None


def maintain(connection: Connection, *, is_full: bool = False) -> str | None:
    """Do the next step that the segments need; to be called until it returns None.

    Args:
        connection: In a transaction of its own: what a step locks is held until it ends.
        is_full: Whether to go on until each model has one segment.

    Returns:
        What was done, a sentence; None where there is nothing to do, or another session is at it.
    """
    connection.execute(SQL.lift_timeout)
    row = connection.execute(SQL.maintain, {"is_full": is_full}).fetchone()
    return None if row is None else row[0]


def choose_index_kind(connection: Connection, kind: str) -> str:
    """Choose the kind of the active model's indexes; see `SiglipClient.create_index`."""
    row = connection.execute(SQL.choose_index_kind, {"kind": kind}).fetchone()
    assert row is not None  # noqa: S101  # a function's result
    return str(row[0])


def is_busy(connection: Connection) -> bool:
    """Whether another session maintains the segments just now, so that `maintain` leaves it to that one."""
    row = connection.execute(SQL.is_busy).fetchone()
    return row is not None and bool(row[0])


def list_segments(connection: Connection) -> list[SegmentStatus]:
    """The segments of all models, in the order of models and contents."""
    return [SegmentStatus(*row) for row in connection.execute(SQL.list_segments)]
