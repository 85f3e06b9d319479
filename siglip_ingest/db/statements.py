"""The statements that `siglip_ingest.db` executes: one a file in sql/, read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def load_statement(name: str) -> bytes:
    """Read sql/<name>.sql. Its header says what its parameters are and what a row of its result means."""
    return (files("siglip_ingest.db") / "sql" / f"{name}.sql").read_bytes()
