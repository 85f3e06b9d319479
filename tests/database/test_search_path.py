"""No name that the schema's functions or the library's statements call can be stood in for by another schema's."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from siglip_ingest import active_model, labeling, search
from siglip_ingest.db import Database, images, workers
from siglip_ingest.db.search import SearchOptions
from tests.database.helpers import (
    add_model,
    all_statements,
    claim,
    close_claim,
    completed,
    failure,
    image_rows,
    index_images,
    make_fake,
    store_text,
    text_vector,
    unit_vectors,
)
from tests.database.test_switching import NEW

SAFE = "search_path=pg_catalog, siglip, pg_temp"
# Called with arguments of other types than PostgreSQL's own function has: an exact match in another schema wins.
TRAPS = [
    "format(text, text)",
    "format(text, integer)",
    "format(text, smallint)",
    "format(text, text, text)",
    "format(text, integer, text)",
    "format(text, text, integer)",
    "make_interval(secs real)",
    "unnest(text[])",
    "unnest(bigint[])",
    "array_agg(bigint)",
    "cardinality(bigint[])",
    "quote_literal(double precision)",
    "jsonb_build_object(text, text)",
]


# A procedure that commits can have no setting; siglip.finish_drops() calls one function, by its full name.
def test_every_function_has_a_safe_search_path(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        rows: list[Any] = connection.execute(
            "SELECT p.oid::regprocedure::text, l.lanname, p.proconfig, p.prosqlbody IS NOT NULL FROM pg_proc AS p "
            "JOIN pg_language AS l ON l.oid = p.prolang WHERE p.pronamespace = 'siglip'::regnamespace"
            " AND p.proname <> 'finish_drops'"
        ).fetchall()
    assert len(rows) > 25
    assert any(re.search(r"nearest_images_\d+\(", str(name)) for name, *_ in rows)  # one of a model, too
    for name, language, settings, has_parsed_body in rows:
        paths = [setting for setting in settings or [] if setting.startswith("search_path=")]
        if paths or not (language == "sql" and has_parsed_body):
            assert paths == [SAFE], name


def test_statements_call_functions_with_arguments_by_their_full_names() -> None:
    syntax = {"coalesce", "greatest", "least", "count", "exists", "any", "all", "array", "in", "values"}
    for name, statement in all_statements():
        code = re.sub(r"--[^\n]*|'[^']*'", "", statement.decode())
        code = re.sub(r"(?<![\w.])unnest\((?=%\(\w+\)s::[a-z ]+\[\],)", "", code)  # of several arrays it is syntax, too
        called = set(re.findall(r"(?<![\w.])([a-z_]+)\((?!\))", code)) - syntax
        assert not called, name


@pytest.fixture
def attacker(database_url: str) -> Iterator[str]:
    """A role that may create functions in `public`, and has: each makes it a superuser when one calls it."""
    role = f"siglip_attacker_{uuid.uuid4().hex[:8]}"
    identifier = sql.Identifier(role)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x1'").format(identifier))
        connection.execute(sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(identifier))
        parts = urlsplit(database_url)
        url = urlunsplit(parts._replace(netloc=f"{role}:x1@{parts.hostname}:{parts.port}"))
        with psycopg.connect(url, autocommit=True) as other:
            for trap in TRAPS:
                _lay_trap(other, trap, role)
        yield role
        connection.execute(sql.SQL("DROP OWNED BY {}").format(identifier))
        connection.execute(sql.SQL("DROP ROLE {}").format(identifier))


def _lay_trap(connection: psycopg.Connection[Any], trap: str, role: str) -> None:
    body = f"BEGIN EXECUTE 'ALTER ROLE {role} SUPERUSER'; RETURN NULL; END"
    kind = "interval" if trap.startswith("make_interval") else "text"
    connection.execute(f"CREATE FUNCTION public.{trap} RETURNS {kind} LANGUAGE plpgsql AS $trap${body}$trap$".encode())


def _is_superuser(database: Database, role: str) -> bool:
    with database.connection() as connection:
        return connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [role]).fetchone() == (True,)


def test_the_traps_work_where_somebody_walks_into_them(database: Database, attacker: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT format('%%s', 'x'::text)", ())
    assert _is_superuser(database, attacker)


def test_who_may_create_in_public_does_not_become_superuser(database: Database, attacker: str) -> None:
    with database.connection() as connection:
        model_id = add_model(connection)
    image_ids = index_images(database, model_id, unit_vectors(20))
    search.search_by_text(database, make_fake, "cat")
    search.search_by_text(database, make_fake, "cat", SearchOptions(filter={"n": 1}, collection="default"))
    search.search_by_embedding(database, text_vector("dog"), SearchOptions(limit=20))
    search.similar_images(database, image_ids[0])
    labeling.create_label_set(database, make_fake, "pets", ["cat"])
    labeling.label_scores_of_image_id(database, image_ids[0], "pets")
    with database.connection() as connection:
        new_id = add_model(connection, NEW, is_active=False)
        store_text(connection, model_id, "x" * 5_000)
        connection.execute("SELECT * FROM siglip.search_images('cat')")
        connection.execute("SELECT * FROM siglip.images_with_label('pets', 'cat', 0)")
        images.insert_images(connection, image_rows(3, collection="new"), model_id)
        chunk = claim(connection, model_id, 2)
        failed = [failure(chunk.items[1], "fetch_failed", "503", pause_s=0)]
        results = [completed(chunk.items[0], unit_vectors(1)[0])]
        close_claim(connection, model_id, chunk.lease_token, results, failed)
        claim(connection, model_id)
        connection.execute("DELETE FROM siglip.workers")
        workers.requeue_lost(connection, 1)
        workers.delete_lost_workers(connection)
        workers.count_workers(connection)
    active_model.switch_model(database, new_id)
    assert not _is_superuser(database, attacker)
