"""Loads the named statements of a .sql file."""

from __future__ import annotations

import re
from importlib.resources import files


class Statements(dict[str, bytes]):
    """The statements of one .sql file by name, in the file's order; each is an attribute, too: `SQL.claim_items`."""

    def __init__(self, file: str, text: str) -> None:
        """Split `text` at its `-- name:` lines; what stands before the first one belongs to no statement.

        A statement keeps its comment: the server's log and `pg_stat_activity` then show its name.

        Raises:
            ValueError: If a name is given twice.
        """
        super().__init__()
        self._file = file
        _, *parts = re.split(r"^(?=-- name: (\w+)$)", text, flags=re.MULTILINE)
        for name, statement in zip(parts[::2], parts[1::2], strict=True):
            if name in self:
                raise ValueError(f"{file} has two statements named {name!r}. Rename one.")
            self[name] = statement.strip().encode()

    def __getattr__(self, name: str) -> bytes:
        if name not in self:
            raise AttributeError(f"{self._file} has no statement {name!r}, only {', '.join(self)}.")
        return self[name]


def load_statements(topic: str) -> Statements:
    """Read siglip_ingest/db/<topic>.sql."""
    # Not aiosql: what it makes of a statement runs it on a cursor of its own, without COPY, binary rows or our retry.
    file = f"{topic}.sql"
    return Statements(file, (files("siglip_ingest.db") / file).read_text(encoding="utf-8"))
