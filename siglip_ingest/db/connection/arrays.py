"""Writes long arrays for PostgreSQL."""

from __future__ import annotations

from collections.abc import Collection


def write_array(values: Collection[int | str | bytes | None]) -> str:
    """Write a one-dimensional array as PostgreSQL's text: a parameter for `%(name)s::bigint[]`, `text[]` or `bytea[]`.

    psycopg's own writing of a list takes several times as long, which counts where it has thousands of elements.
    """
    # https://www.postgresql.org/docs/current/arrays.html, "Array Input and Output Syntax"
    return "{" + ",".join([_write_element(value) for value in values]) + "}"


def _write_element(value: int | str | bytes | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
