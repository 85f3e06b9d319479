"""Writes docs/sql.md from the comments of the schema: `python -m tools.sql_page`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psycopg

import siglip_migrations
from siglip_ingest import db
from siglip_migrations.dump import temporary_database
from tools.sql_topics import INTERNAL, TOPICS

PAGE = Path(__file__).parents[1] / "docs/sql.md"

_INTRODUCTION = """\
# What one can say in SQL

```sql
SELECT image_id, uri, score FROM siglip.search_images('sunset over water', 5, collection => 'holiday');
```

All functions, views and tables of the schema `siglip`. `make docs` makes this page from their comments; a test runs
each example, on a database with 40 images in the collections `holiday` and `product`, the label set `scenes`, a table
`public.product`, two models of 16 elements, `demo` and `other`, and, where an example has one, the server `archive`.
Arguments after the first are best given by name: more may come. psql shows the same, best with `\\x` and lines that are
wrapped:

```sh
siglip-ingest psql --expanded --pset=format=wrapped --command='\\df+ siglip.similar_images'
```
"""
_PARTS_OF_OTHERS = """\
What the functions above are made of, and what the library and the workers call. They may change with any revision."""

_FUNCTIONS = """
SELECT p.proname, pg_get_function_arguments(p.oid),
       CASE WHEN p.prokind = 'f' THEN pg_get_function_result(p.oid) END, p.prokind::text,
       coalesce(obj_description(p.oid, 'pg_proc'), '')
FROM pg_proc AS p
WHERE p.pronamespace = 'siglip'::regnamespace AND p.proname !~ '^nearest_images_[0-9]+$'
ORDER BY p.proname, pg_get_function_identity_arguments(p.oid)
"""
_RELATIONS = """
SELECT c.oid, c.relname, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_class AS c
WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
  AND c.relname <> 'alembic_version'
ORDER BY c.relname
"""
_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), coalesce(col_description(a.attrelid, a.attnum), '')
FROM pg_attribute AS a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_TYPES = """
SELECT c.oid, c.relname, coalesce(obj_description(c.reltype, 'pg_type'), '')
FROM pg_class AS c WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind = 'c' ORDER BY c.relname
"""
# What other functions, defaults, views and triggers call, as far as their text says.
_TEXTS = """
SELECT p.proname, coalesce(nullif(p.prosrc, ''), '') || coalesce(pg_get_function_sqlbody(p.oid), '')
FROM pg_proc AS p WHERE p.pronamespace = 'siglip'::regnamespace
UNION ALL SELECT c.relname, pg_get_viewdef(c.oid)
FROM pg_class AS c WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind = 'v'
"""

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True)
class Function:
    """A function or procedure of the schema, as the page shows it."""

    name: str
    arguments: str
    result: str | None
    kind: str
    comment: str

    def describe(self, *, is_first: bool = True) -> str:
        """A section: the sentence, the example, the signature; the heading stands before the first of a name."""
        sentence, _, example = self.comment.partition("\nExample: ")
        word = "PROCEDURE" if self.kind == "p" else "FUNCTION"
        result = f"\n    RETURNS {_plain(self.result)}" if self.result else ""
        signature = f"{word} siglip.{self.name}({_plain(self.arguments)}){result}"
        heading = f"### `siglip.{self.name}`\n\n" if is_first else ""
        return f"{heading}{sentence}\n\n```sql\n{example}\n```\n\n```\n{_wrap(signature)}\n```\n"


def make_page(connection: Connection) -> str:
    """The page as Markdown: functions by topic, then types, views and tables."""
    _write_schema_out(connection)
    functions = read_functions(connection)
    parts = [_INTRODUCTION]
    listed = {name for names in TOPICS.values() for name in names}
    for topic, names in TOPICS.items():
        found = [function for name in names for function in functions if function.name == name]
        if found:
            parts += [f"## {topic}\n", *_describe_all(found)]
    parts += ["## Results\n", *(_describe_type(connection, row) for row in connection.execute(_TYPES.encode()))]
    relations = connection.execute(_RELATIONS.encode()).fetchall()
    for heading, is_view in (("Views", True), ("Tables", False)):
        found_relations = [row for row in relations if row[2] is is_view]
        parts += [f"## {heading}\n", *(_describe_relation(connection, row) for row in found_relations)]
    others = [function for function in functions if function.name not in listed]
    parts += ["## Parts that others use\n", _PARTS_OF_OTHERS + "\n", *_describe_all(others)]
    return "\n".join(parts)


def read_functions(connection: Connection) -> list[Function]:
    """All functions and procedures of the schema, without those that belong to one model."""
    return [Function(*row) for row in connection.execute(_FUNCTIONS.encode())]


def functions_without_topic(connection: Connection) -> list[str]:
    """Functions that nothing else calls, so that people must be meant to, and that no topic lists."""
    _write_schema_out(connection)
    texts = [(str(name), str(text)) for name, text in connection.execute(_TEXTS.encode())]
    texts += [("", file.read_text(encoding="utf-8")) for file in Path(db.__path__[0]).glob("*.sql")]
    listed = {name for names in TOPICS.values() for name in names} | INTERNAL
    unlisted = {function.name for function in read_functions(connection) if function.result != "trigger"} - listed
    return sorted(name for name in unlisted if not _is_called(name, texts))


def _write_schema_out(connection: Connection) -> None:
    """Let names of the schema siglip always come with it, whatever the role's search_path is."""
    connection.execute((files("siglip_migrations") / "sql" / "dump" / "search_path.sql").read_bytes())


def _describe_all(functions: Iterable[Function]) -> Iterator[str]:
    before = ""
    for function in functions:
        yield function.describe(is_first=function.name != before)
        before = function.name


def _is_called(name: str, texts: Iterable[tuple[str, str]]) -> bool:
    return any(f"siglip.{name}(" in text for caller, text in texts if caller != name)


def _describe_type(connection: Connection, row: tuple[Any, ...]) -> str:
    oid, name, comment = row
    return f"### `siglip.{name}`\n\n{comment}\n\n{_column_table(connection, oid)}\n"


def _describe_relation(connection: Connection, row: tuple[Any, ...]) -> str:
    oid, name, _, comment = row
    return f"### `siglip.{name}`\n\n{comment}\n\n{_column_table(connection, oid)}\n"


def _column_table(connection: Connection, oid: int) -> str:
    rows = connection.execute(_COLUMNS.encode(), [oid]).fetchall()
    lines = [f"| `{column}` | {_plain(kind)} | {note.replace('|', chr(92) + '|')} |" for column, kind, note in rows]
    return "\n".join(["| column | type | |", "|---|---|---|", *lines])


def _plain(text: str | None) -> str:
    """Types as people write them: without the casts of defaults, and short."""
    text = text or ""
    for kind in ("text", "bigint[]", "bigint", "integer[]", "integer", "jsonb", "text[]", "double precision[]",
                 "double precision", "real", "boolean", "regclass", "siglip.search_position", "interval"):  # fmt: skip
        text = text.replace(f"NULL::{kind}", "NULL").replace(f"'::{kind}", "'")
    return text.replace("timestamp with time zone", "timestamptz")


def _wrap(signature: str) -> str:
    """An argument a line where one line is too long."""
    head, _, result = signature.partition("\n")
    if len(head) > 110:
        name, _, arguments = head.partition("(")
        head = f"{name}(\n    " + ",\n    ".join(arguments[:-1].split(", ")) + ")"
    return head + (f"\n{result}" if result else "")


def main() -> int:
    """Write docs/sql.md."""
    parser = argparse.ArgumentParser(prog="python -m tools.sql_page", description="Write docs/sql.md.")
    parser.parse_args()
    with temporary_database() as url:
        siglip_migrations.upgrade(url)
        with psycopg.connect(url) as connection:
            missing = functions_without_topic(connection)
            if missing:
                sys.stderr.write(f"Give these functions a topic in tools/sql_topics.py: {', '.join(missing)}\n")
                return 1
            PAGE.write_text(make_page(connection), encoding="utf-8")
    sys.stdout.write(f"Wrote {PAGE}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
