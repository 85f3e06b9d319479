"""Runs the .sql files of a revision."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files

import psycopg
import sqlalchemy

# Functions of the first revisions keep the search_path of their creation (SET search_path FROM CURRENT). Later ones
# write the extension's schema out, for which @vector@ stands in the files, and keep it out of their path: often it is
# `public`, where others may create names too. Before the extension is there, nothing is set: CREATE EXTENSION puts it
# where its owner expects it.
SET_SEARCH_PATH = b"""
SELECT set_config('search_path', concat_ws(', ', 'siglip', quote_ident(n.nspname), 'pg_temp'), true)
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'vector'
"""


def run_scripts(connection: sqlalchemy.Connection, revision: str, names: Collection[str] | None = None) -> None:
    """Run sql/<revision>/*.sql, or those of these names, in the order of their names, as they stand."""
    folder = files("siglip_migrations") / "sql" / revision
    for script in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if script.is_file() and (names is None or script.name in names):
            _run(connection, script.read_text(encoding="utf-8"))


def run_down_script(connection: sqlalchemy.Connection, revision: str) -> None:
    """Run sql/<revision>_down.sql."""
    _run(connection, (files("siglip_migrations") / "sql" / f"{revision}_down.sql").read_text(encoding="utf-8"))


def run_down_scripts(connection: sqlalchemy.Connection, revision: str) -> None:
    """Run sql/<revision>/down/*.sql, each of which takes away what the file of its name made, the last first."""
    folder = files("siglip_migrations") / "sql" / revision / "down"
    for script in sorted(folder.iterdir(), key=lambda entry: entry.name, reverse=True):
        _run(connection, script.read_text(encoding="utf-8"))


def _run(connection: sqlalchemy.Connection, script: str) -> None:
    # Straight to psycopg, without parameters: SQLAlchemy would take colons and percent signs for placeholders.
    driver_connection = connection.connection.driver_connection
    if not isinstance(driver_connection, psycopg.Connection):
        raise TypeError(f"Migrations run over psycopg, not {type(driver_connection).__name__}.")
    driver_connection.execute(SET_SEARCH_PATH)
    driver_connection.execute(script.replace("@vector@", _find_vector_schema(driver_connection)).encode())
    driver_connection.execute("RESET search_path")


def _find_vector_schema(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    """Name the schema of the extension, quoted where it must be; `public` before the extension is there."""
    row = connection.execute(
        "SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace"
        " WHERE e.extname = 'vector'"
    ).fetchone()
    return "public" if row is None else str(row[0])
