"""PostgreSQL servers that have the files of the extension."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from siglip_ingest.db.schema import SCHEMA_REVISION
from siglip_migrations.extension_files import extension_files, known_revisions, write_extension
from tests.conftest import replace_database

BEFORE = "0009"  # the revision that updates are tried from


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that has the extension's files, and the programs of its version."""

    url: str
    programs: Path
    control_path: str | None

    @contextmanager
    def database(self, name: str, *, vector: str | None = "public") -> Iterator[str]:
        """URL of an empty database, with pgvector in a schema."""
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(drop)
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            if self.control_path is not None:
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET extension_control_path = {}").format(
                        sql.Identifier(name), self.control_path
                    )
                )
        url = replace_database(self.url, name)
        if vector is not None:
            run_statements(url, f"CREATE SCHEMA IF NOT EXISTS {vector}", f"CREATE EXTENSION vector SCHEMA {vector}")
        yield url
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(drop)

    def dump(self, url: str, file: Path, *options: str) -> str:
        self._call("pg_dump", f"--dbname={url}", f"--file={file}", *options)
        return "" if "--format=custom" in options else file.read_text()

    def restore(self, url: str, file: Path, way: str = "psql") -> None:
        options = "-c session_replication_role=replica" if way == "several at once" else ""
        if way == "psql":
            self._call("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--dbname={url}", f"--file={file}")
        else:
            jobs = ["--jobs=2"] if options else []
            self._call("pg_restore", "--exit-on-error", *jobs, f"--dbname={url}", str(file), PGOPTIONS=options)

    def _call(self, program: str, *arguments: str, **environment: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == "", done.stderr


def write_files(folder: Path) -> None:
    """The files as they are, and those that an update from the revision before needs."""
    write_extension(folder)
    for name, content in extension_files(known_revisions()[:-1], first=BEFORE).items():
        if name == f"siglip--{BEFORE}.sql":
            (folder / name).write_text(content)
    update = f"siglip--{BEFORE}--{SCHEMA_REVISION}.sql"
    (folder / update).write_text(extension_files(known_revisions(), first=BEFORE)[update])


def run_statements(url: str, *statements: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = None
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor is not None and cursor.description else []
