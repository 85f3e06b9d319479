"""What the functions of the schema may be made to call."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from siglip_ingest import search
from siglip_ingest.db import Database
from tests.database.helpers import add_model, index_images, make_fake, unit_vectors

PATH = "search_path=pg_catalog, siglip, pg_temp"
PUBLIC_FORMAT = """
CREATE FUNCTION public.format(text, text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.heard VALUES (current_user);
    RETURN pg_catalog.format($1, VARIADIC ARRAY[$2]);
END $$;
CREATE FUNCTION public.format(text, integer) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.heard VALUES (current_user);
    RETURN pg_catalog.format($1, VARIADIC ARRAY[$2]);
END $$;
CREATE FUNCTION public.vector_dims(text) RETURNS integer LANGUAGE sql AS 'SELECT 1/0';
CREATE FUNCTION public.least(double precision, double precision) RETURNS double precision LANGUAGE sql AS 'SELECT 1/0';
CREATE FUNCTION public.coalesce_text(text) RETURNS text LANGUAGE sql AS 'SELECT 1/0';
"""


def test_every_function_has_the_one_path_or_is_bound_when_it_is_made(database: Database) -> None:
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT p.oid::regprocedure::text, p.proconfig, p.prosqlbody IS NOT NULL FROM pg_proc AS p"
            " WHERE p.pronamespace = 'siglip'::regnamespace"
        ).fetchall()
    assert len(rows) > 15
    for name, settings, is_bound in rows:
        paths = [setting for setting in settings or [] if str(setting).startswith("search_path")]  # type: ignore[attr-defined]
        assert paths == ([] if is_bound else [PATH]), name


def test_who_may_create_in_public_is_called_by_nobody(database: Database, database_url: str) -> None:
    """A worker of a superuser described a model, and called public.format(text, text) as that superuser."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.heard (by_whom text)")
        connection.execute(PUBLIC_FORMAT)
    with database.connection() as connection:
        model_id = add_model(connection)
    index_images(database, model_id, unit_vectors(5))
    assert len(search.search_by_text(database, make_fake, "cat")) == 5
    assert len(search.similar_images(database, 1)) == 4
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM public.heard").fetchone() == (0,)


def test_the_statements_of_the_library_name_no_type_of_pgvector() -> None:
    """Whose schema a connection's search_path needn't hold."""
    import siglip_ingest.db

    folder = Path(str(siglip_ingest.db.__file__)).parent / "sql"
    for file in folder.glob("*.sql"):
        statement = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("--"))
        assert "halfvec" not in statement, file
        assert "<#>" not in statement, file


@pytest.mark.parametrize("path", ["", "pg_catalog", '"$user"'])
def test_statements_work_whatever_the_search_path_of_the_role_is(
    database: Database, database_url: str, path: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET search_path = {}").format(sql.Identifier(name), sql.Literal(path))
        )
    with Database(database_url) as fresh:
        with fresh.connection() as connection:
            model_id = add_model(connection)
        index_images(fresh, model_id, unit_vectors(5))
        assert len(search.search_by_text(fresh, make_fake, "cat")) == 5
