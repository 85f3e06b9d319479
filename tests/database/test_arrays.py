"""Arrays that are written here come back from PostgreSQL as they were."""

from __future__ import annotations

from typing import Any

import pytest

from siglip_ingest.db import Database
from siglip_ingest.db.connection.arrays import write_array

ARRAYS: dict[str, tuple[str, list[Any]]] = {
    "none": ("bigint[]", []),
    "numbers": ("bigint[]", [1, -(2**63), None, 2**63 - 1]),
    "texts": ("text[]", ["", "NULL", None, "null", " a ", 'quote"d', "back\\slash\\", "{a,b}", "ü\n\t", "\\x41", "'"]),
    "bytes": ("bytea[]", [b"", bytes(range(256)), None]),
}


@pytest.mark.parametrize(("kind", "values"), ARRAYS.values(), ids=ARRAYS.keys())
def test_an_array_comes_back_as_it_was(database: Database, kind: str, values: list[Any]) -> None:
    statement = f"SELECT %(values)s::{kind}".encode()
    assert database.fetch(statement, {"values": write_array(values)}) == [(values,)]
