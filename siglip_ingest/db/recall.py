"""Recall: how many of the images that an exact search finds a search finds, too. The work is `siglip.index_recall`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from siglip_ingest.db import checks
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.types import RecallMeasurement, TuningStep

MAX_MEASURED = 1000  # images of one answer
SQL = load_statements("recall")


def measure_recall(
    connection: Connection,
    *,
    sample: int = 200,
    limit: int = 10,
    collection: str | None = None,
    filter: Mapping[str, Any] | None = None,  # noqa: A002
) -> list[RecallMeasurement]:
    """Measure the recall of the active model's searches; see `SiglipClient.index_recall`."""
    if collection is not None:
        checks.check_name(collection, "A collection")
    checks.check_mapping(filter, "filter")
    parameters = {
        "sample": checks.check_sample(sample),
        "limit": checks.check_limit(limit, MAX_MEASURED),
        "collection": collection,
        "filter": None if filter is None else Jsonb(dict(filter)),
    }
    connection.execute(SQL.lift_timeout)
    return [RecallMeasurement(*row) for row in connection.execute(SQL.measure_recall, parameters)]


def tune_search(connection: Connection, *, target_recall: float = 0.98, sample: int = 200) -> list[TuningStep]:
    """Find and keep the smallest ef_search that reaches a recall; see `SiglipClient.tune_search`."""
    parameters = {"target_recall": checks.check_recall(target_recall), "sample": checks.check_sample(sample)}
    connection.execute(SQL.lift_timeout)
    return [TuningStep(*row) for row in connection.execute(SQL.tune_search, parameters)]


def list_measurements(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """The last measurements of all models, newest first: columns of `siglip.recall_drift`."""
    return _to_dicts(connection, SQL.list_measurements, {"limit": checks.check_limit(limit)})


def list_settings(connection: Connection) -> list[dict[str, Any]]:
    """What is in effect for searches and indexes: rows of `siglip.index_settings`."""
    return _to_dicts(connection, SQL.list_settings, None)


def _to_dicts(connection: Connection, statement: bytes, parameters: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    cursor = connection.execute(statement, parameters)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]
