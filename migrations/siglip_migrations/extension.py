"""Which pgvector a database has, and what is known to be wrong with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

OLDEST = (0, 8, 0)  # the first with iterative scans, which filtered searches need

# pgvector's changelog: what the first version that is free of it corrected.
DEFECTS = (
    ((0, 8, 2), "a parallel build of an HNSW index can write beyond its memory (CVE-2026-3172)"),
    ((0, 8, 3), "VACUUM can damage an HNSW index while rows are inserted"),
)

FIND_VERSIONS = b"""
SELECT (SELECT e.extversion FROM pg_catalog.pg_extension AS e WHERE e.extname = 'vector'),
       (SELECT a.default_version FROM pg_catalog.pg_available_extensions AS a WHERE a.name = 'vector')
"""


@dataclass(frozen=True, slots=True)
class VectorVersion:
    """The versions of pgvector on a server.

    Attributes:
        created: That of the extension in the database, such as `0.8.5`; None before CREATE EXTENSION.
        installed: That of the files on the server; None where there are none. They are newer than `created` after an
            update of the server's package, until ALTER EXTENSION.
    """

    created: str | None
    installed: str | None

    @property
    def is_missing(self) -> bool:
        """Whether the server has no pgvector at all."""
        return self.created is None and self.installed is None

    @property
    def is_too_old(self) -> bool:
        """Whether what the database has, or would get, lacks what the schema needs."""
        found = self.created or self.installed
        return found is not None and parse_version(found) < OLDEST

    def describe_defects(self) -> str | None:
        """Say what is wrong with it and what to do, one or two sentences; None where nothing is known."""
        found = self.created or self.installed
        if found is None:
            return None
        defects = [sentence for corrected, sentence in DEFECTS if parse_version(found) < corrected]
        if not defects:
            return None
        return f"pgvector {found} has known defects: {'; '.join(defects)}. {self.describe_update()}"

    def describe_update(self) -> str:
        """Say how to get a version without known defects."""
        newest = format_version(max(corrected for corrected, _ in DEFECTS))
        if self.created and self.installed and parse_version(self.installed) > parse_version(self.created):
            has_cure = parse_version(self.installed) >= parse_version(newest)
            if has_cure:
                return (
                    f"Version {self.installed} is on the server already: run ALTER EXTENSION vector UPDATE in this "
                    "database, then REINDEX its HNSW indexes."
                )
        return (
            f"Install {newest} or newer on the server (on Debian: apt-get install --only-upgrade "
            "postgresql-18-pgvector), then run ALTER EXTENSION vector UPDATE in this database and REINDEX its HNSW "
            "indexes."
        )


def parse_version(text: str) -> tuple[int, ...]:
    """Read `0.8.5`; what follows the numbers (`0.8.0-1`, `0.9beta`) is left out."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else ()


def format_version(version: tuple[int, ...]) -> str:
    """Write `(0, 8, 5)` as `0.8.5`."""
    return ".".join(map(str, version))


def find_vector_version(connection: psycopg.Connection[tuple[object, ...]]) -> VectorVersion:
    """Ask a server which pgvector it has."""
    row = connection.execute(FIND_VERSIONS).fetchone()
    created, installed = row or (None, None)
    return VectorVersion(None if created is None else str(created), None if installed is None else str(installed))
