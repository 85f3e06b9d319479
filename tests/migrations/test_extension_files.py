"""CREATE EXTENSION siglip: the schema that the migrations make, kept by pg_dump, updated and dropped by its name.

docs/extension.md is run, too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

import siglip_migrations
from siglip_ingest.db import Database
from siglip_ingest.db.schema import SCHEMA_REVISION, check_schema, migrate
from siglip_ingest.errors import SchemaVersionError
from siglip_migrations import dump
from siglip_migrations.extension_files import extension_files, known_revisions
from tests.conftest import replace_database
from tests.database.attached_tables import ATTACH, create_products, follow, rows_of
from tests.database.example_database import answering, fill_example_database
from tests.database.helpers import INFO, add_model, index_images, unit_vectors
from tests.documents import statements_of
from tests.migrations.extension_servers import BEFORE, Server, run_statements
from tools.documents import ROOT, find_snippets

SEARCHES = (
    "SELECT image_id, uri, score FROM siglip.search_images('sunset', 40)",
    "SELECT image_id, score FROM siglip.similar_images(7, 10, model_id => 2)",
    "SELECT image_id, score FROM siglip.images_with_label('scenes', 'forest', 0)",
    "SELECT image_id, label, score FROM siglip.label_scores ORDER BY image_id, label",
    "SELECT segment::text, index::text, is_index_valid, to_content_id FROM siglip.segments ORDER BY segment::text",
)
TABLES = """
SELECT c.relname FROM pg_class AS c
WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
"""


def _fill(url: str) -> None:
    with Database(url) as database:
        fill_example_database(database)
        with answering(database):
            run_statements(url, "SELECT siglip.embed_text('sunset'), siglip.embed_text('sunset', 2)")
    run_statements(url, "SELECT siglip.create_segment_index('siglip.image_embeddings_1_1', 16, 'halfvec', 40)")


def _contents(url: str) -> dict[str, Any]:
    """What is in each table, and what searches find."""
    found: dict[str, Any] = {query: run_statements(url, query) for query in SEARCHES}
    for (table,) in run_statements(url, TABLES):
        found[table] = run_statements(url, f"SELECT t::text FROM siglip.{table} AS t ORDER BY 1")
    return found


def _check_that_it_goes_on(url: str) -> None:
    """New images and a new model fit in beside what was restored."""
    with Database(url) as database:
        check_schema(database)
        assert index_images(database, 1, unit_vectors(2, seed=5), collection="new") == [41, 42]
        with database.connection() as connection:
            assert add_model(connection, INFO, is_active=False) == 3
    assert len(run_statements(url, "SELECT * FROM siglip.similar_images(41, 50)")) == 41


def test_the_extension_makes_the_schema_that_the_migrations_make(server: Server) -> None:
    with server.database("made") as made, server.database("migrated") as migrated:
        run_statements(made, "CREATE EXTENSION siglip")
        migrate(migrated)
        assert dump.dump_schema(made) == dump.dump_schema(migrated)
        with Database(made) as database:
            check_schema(database)
        assert migrate(made) == SCHEMA_REVISION
        kept = (
            "SELECT c.relname FROM pg_extension AS x, unnest(x.extconfig) AS k JOIN pg_class AS c ON c.oid = k"
            " WHERE x.extname = 'siglip'"
        )
        unkept = {name for (name,) in run_statements(made, TABLES)} - {name for (name,) in run_statements(made, kept)}
        assert unkept == {
            "alembic_version",
            "image_embeddings",
        }  # the one is written anew, the other's partitions are kept


def test_pgvector_may_be_in_any_schema(server: Server) -> None:
    with server.database("elsewhere", vector='"Its own"') as url:
        run_statements(url, "CREATE EXTENSION siglip")
        with Database(url) as database:
            with database.connection() as connection:
                model_id = add_model(connection)
            index_images(database, model_id, unit_vectors(5))
        rows = run_statements(url, "SET search_path = pg_catalog", "SELECT * FROM siglip.similar_images(1)")
        assert len(rows) == 4
        assert run_statements(url, "SELECT proname FROM pg_proc WHERE prosrc ~ '@(extschema|vector)'") == []


def test_what_the_document_says_works(server: Server, tmp_path: Path) -> None:
    """Its blocks in their order; the server has the files already, so that the command writes them elsewhere."""
    with server.database("photos", vector=None) as url, server.database("migrated") as migrated:
        address = urlsplit(url)
        environment = {
            **os.environ,
            "PATH": f"{server.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PGHOST": str(address.hostname),
            "PGPORT": str(address.port),
            "PGUSER": str(address.username),
            "PGPASSWORD": str(address.password),
            "PGOPTIONS": f"-c extension_control_path={server.control_path}" if server.control_path else "",
        }
        run_statements(url, "SELECT 1")
        migrate(migrated)
        try:
            for block in find_snippets(ROOT / "docs/extension.md"):
                if block.language == "sql":
                    run_statements(migrated if "unpackaged" in block.text else url, *statements_of(block.text))
                else:
                    script = block.text.replace("$(pg_config --sharedir)", str(tmp_path))
                    command = ["bash", "-euc", script]
                    done = subprocess.run(
                        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
                    )
                    assert done.returncode == 0, done.stdout + done.stderr
            again = replace_database(url, "photos_again")
            assert run_statements(again, "SELECT extname FROM pg_extension WHERE extname = 'siglip'") == [("siglip",)]
            assert run_statements(url, "SELECT FROM pg_namespace WHERE nspname = 'siglip'") == []
        finally:
            run_statements(server.url, "DROP DATABASE IF EXISTS photos_again WITH (FORCE)")


@pytest.mark.parametrize("way", ["psql", "pg_restore", "several at once"])
def test_a_dump_restores_to_a_database_that_searches_the_same(server: Server, tmp_path: Path, way: str) -> None:
    with server.database("source") as source, server.database("target", vector=None) as target:
        run_statements(source, "CREATE EXTENSION siglip")
        _fill(source)
        text = server.dump(source, tmp_path / "dump", *([] if way == "psql" else ["--format=custom"]))
        if way == "psql":
            assert "CREATE EXTENSION IF NOT EXISTS siglip WITH SCHEMA siglip;" in text
            assert "CREATE TABLE siglip.images " not in text
            assert "CREATE FUNCTION siglip.search_images" not in text
        before = _contents(source)
        server.restore(target, tmp_path / "dump", way)
        assert _contents(target) == before
        assert len(before[SEARCHES[0]]) == 40
        assert before[SEARCHES[-1]][0][1:3] == ("image_embeddings_1_1_hnsw_idx", True)
        _check_that_it_goes_on(target)


@pytest.mark.parametrize("way", ["psql", "pg_restore", "several at once"])
def test_attached_tables_are_followed_after_a_restore_and_free_without_the_extension(
    server: Server, tmp_path: Path, way: str
) -> None:
    with server.database("source") as source, server.database("target", vector=None) as target:
        run_statements(source, "CREATE EXTENSION siglip")
        with Database(source) as database, database.session() as connection:
            add_model(connection)
            create_products(connection, 3)
            connection.execute(ATTACH.encode())
            follow(connection)
            connection.execute("ALTER TABLE product DROP COLUMN name")  # columns get other numbers
            connection.execute("UPDATE product SET photo_url = 'https://example.org/new.jpg' WHERE id = 1")  # waits
        server.dump(source, tmp_path / "dump", *([] if way == "psql" else ["--format=custom"]))
        server.restore(target, tmp_path / "dump", way)
        with Database(target) as database, database.session() as connection:
            connection.execute("DELETE FROM product WHERE id = 2")
            connection.execute("CREATE TABLE public.more (id integer PRIMARY KEY, uri text)")
            connection.execute("INSERT INTO public.more VALUES (7, 'https://example.org/7.jpg')")
            connection.execute("SELECT siglip.attach('public.more', 'uri')")
            follow(connection)
            assert [(key, uri[-7:]) for key, _, uri in rows_of(connection)] == [
                ("1", "new.jpg"),
                ("3", "g/3.jpg"),
                ("7", "g/7.jpg"),
            ]
        run_statements(target, "DROP EXTENSION siglip CASCADE", "UPDATE product SET price = 1", "TRUNCATE product")


def test_a_dump_without_the_extension_restores_too(server: Server, tmp_path: Path) -> None:
    with server.database("source") as source, server.database("target", vector=None) as target:
        migrate(source)
        _fill(source)
        server.dump(source, tmp_path / "dump")
        server.restore(target, tmp_path / "dump")
        assert _contents(target) == _contents(source)
        assert dump.dump_schema(target) == dump.dump_schema(source)
        _check_that_it_goes_on(target)


def test_a_migrated_database_becomes_an_extension(server: Server, tmp_path: Path) -> None:
    with server.database("source") as source, server.database("target", vector=None) as target:
        migrate(source)
        _fill(source)
        page, before = dump.dump_schema(source), _contents(source)
        run_statements(source, "CREATE EXTENSION siglip VERSION 'unpackaged'", "ALTER EXTENSION siglip UPDATE")
        assert run_statements(source, "SELECT extversion FROM pg_extension WHERE extname = 'siglip'") == [
            (SCHEMA_REVISION,)
        ]
        assert "CREATE TABLE siglip.images " not in server.dump(source, tmp_path / "dump")
        server.restore(target, tmp_path / "dump")
        assert _contents(source) == _contents(target) == before
        assert dump.dump_schema(source) == dump.dump_schema(target) == page


def test_members_are_the_same_whichever_way_it_became_an_extension(server: Server) -> None:
    members = (
        "SELECT pg_describe_object(classid, objid, objsubid)"
        " FROM pg_depend AS d JOIN pg_extension AS x ON x.oid = d.refobjid"
        " WHERE x.extname = 'siglip' AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' ORDER BY 1"
    )
    with server.database("made") as made, server.database("became") as became:
        run_statements(made, "CREATE EXTENSION siglip")
        migrate(became)
        run_statements(became, "CREATE EXTENSION siglip VERSION 'unpackaged'", "ALTER EXTENSION siglip UPDATE")
        assert run_statements(made, members) == run_statements(became, members)


def test_an_update_brings_an_older_version_to_the_newest(server: Server) -> None:
    with server.database("updated") as url, server.database("migrated") as migrated:
        run_statements(url, f"CREATE EXTENSION siglip VERSION '{BEFORE}'")
        assert siglip_migrations.current_revision(url) == BEFORE
        with pytest.raises(
            SchemaVersionError, match=r"CREATE EXTENSION siglip and is at revision 0009\. ALTER EXTENSION"
        ):
            migrate(url)
        run_statements(url, "INSERT INTO siglip.images (uri) VALUES ('file:///a.jpg')", "ALTER EXTENSION siglip UPDATE")
        migrate(migrated)
        assert dump.dump_schema(url) == dump.dump_schema(migrated)
        assert run_statements(url, "SELECT uri FROM siglip.images") == [("file:///a.jpg",)]
        kept = "SELECT 'siglip.api_keys'::regclass::oid = ANY (extconfig) FROM pg_extension WHERE extname = 'siglip'"
        assert run_statements(url, kept) == [(True,)]
        assert migrate(url) == SCHEMA_REVISION


def test_only_drop_extension_takes_it_away(server: Server) -> None:
    with server.database("dropped") as url:
        run_statements(url, "CREATE EXTENSION siglip")
        _fill(url)
        with pytest.raises(SchemaVersionError, match="DROP EXTENSION siglip CASCADE"):
            migrate(url, "base")
        with pytest.raises(SchemaVersionError, match="UPDATE TO '0001'"):
            migrate(url, "0001")
        with pytest.raises(psycopg.errors.DependentObjectsStillExist):
            run_statements(url, "DROP EXTENSION siglip")
        run_statements(url, "BEGIN; DROP EXTENSION siglip CASCADE; DROP SCHEMA siglip; ROLLBACK")
        run_statements(url, "DROP EXTENSION siglip CASCADE")
        assert run_statements(url, "SELECT FROM pg_class WHERE relnamespace = to_regnamespace('siglip')") == []
        assert run_statements(url, "SELECT FROM pg_proc WHERE pronamespace = to_regnamespace('siglip')") == []
        run_statements(url, "CREATE EXTENSION siglip", "DROP TABLE public.product")
        _fill(url)


def test_a_schema_that_is_there_already_is_refused(server: Server) -> None:
    with server.database("there") as url:
        migrate(url)
        with pytest.raises(psycopg.errors.DuplicateSchema, match=r"(?s)is here already, at revision .*unpackaged"):
            run_statements(url, "CREATE EXTENSION siglip")
        migrate(url, BEFORE)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is at revision 0009, not at 0010"):
            run_statements(url, "CREATE EXTENSION siglip VERSION 'unpackaged'")
        migrate(url, "base")
        run_statements(url, "CREATE EXTENSION siglip")
        assert migrate(url) == SCHEMA_REVISION


def test_pgvector_in_our_schema_is_refused(server: Server) -> None:
    """CASCADE puts it there for a role called siglip, as that of the embedded PostgreSQL is."""
    with server.database("cascade", vector=None) as url:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="CREATE EXTENSION vector SCHEMA public"):
            run_statements(url, "CREATE EXTENSION siglip CASCADE")
        assert run_statements(url, "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'") == []


def test_an_owner_of_a_database_may_create_it(server: Server) -> None:
    """No superuser is needed, but for pgvector."""
    with server.database("owned") as url:
        run_statements(url, "DROP ROLE IF EXISTS owner_of_a_database", "CREATE ROLE owner_of_a_database")
        run_statements(url, "GRANT CREATE ON DATABASE owned TO owner_of_a_database")
        run_statements(url, "SET ROLE owner_of_a_database", "CREATE EXTENSION siglip")
        owner = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'siglip'::regnamespace"
        assert run_statements(url, owner) == [("owner_of_a_database",)]
        run_statements(url, "DROP OWNED BY owner_of_a_database CASCADE", "DROP ROLE owner_of_a_database")


def test_what_others_add_to_its_tables_is_dumped_as_the_document_says(server: Server, tmp_path: Path) -> None:
    """pg_dump keeps grants on an extension's tables, and neither policies nor indexes."""
    with server.database("added") as url:
        run_statements(url, "CREATE EXTENSION siglip")
        run_statements(
            url,
            "CREATE INDEX taken_at_idx ON siglip.images ((metadata ->> 'taken_at'))",
            "ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY everything ON siglip.images USING (true)",
            "GRANT SELECT ON siglip.images TO PUBLIC",
        )
        text = server.dump(url, tmp_path / "dump")
    assert "GRANT SELECT ON TABLE siglip.images TO PUBLIC" in text
    assert [word for word in ("taken_at_idx", "POLICY", "ROW LEVEL") if word in text] == []


def test_the_command_writes_the_files(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("siglip-ingest")
    done = subprocess.run(
        [program, "extension", tmp_path / "new" / "extension"], capture_output=True, text=True, check=True
    )
    names = {
        "siglip.control",
        f"siglip--{SCHEMA_REVISION}.sql",
        "siglip--unpackaged.sql",
        f"siglip--unpackaged--{SCHEMA_REVISION}.sql",
        "siglip--0009--0010.sql",
    }
    assert {Path(line).name for line in done.stdout.splitlines()} == names
    assert {path.name for path in (tmp_path / "new" / "extension").iterdir()} == names
    (tmp_path / "file").write_text("")
    failed = subprocess.run([program, "extension", tmp_path / "file"], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"Error: {tmp_path / 'file'} can't be written")
    assert failed.stderr.count("\n") == 1


def test_the_files_name_every_statement_of_the_migrations() -> None:
    files = extension_files(known_revisions())
    script = files[f"siglip--{SCHEMA_REVISION}.sql"]
    assert "@vector@" not in "".join(files.values())
    for revision in known_revisions():
        folder = Path(siglip_migrations.__path__[0]) / "sql" / revision
        for file in folder.glob("*.sql"):
            assert file.read_text(encoding="utf-8").replace("@vector@", "@extschema:vector@") in script, file
