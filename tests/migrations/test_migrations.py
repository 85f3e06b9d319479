from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest

import siglip_migrations
from siglip_ingest import labeling, search
from siglip_ingest.db import Database
from siglip_ingest.db.schema import SCHEMA_REVISION, check_schema, migrate
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import ConfigurationError, DatabaseError, InvalidInputError, SchemaVersionError
from siglip_migrations import dump
from tests.conftest import Services, replace_database
from tests.database.attached_tables import ATTACH, create_products, fetch_one, follow, images_of
from tests.database.helpers import add_model, index_images, make_fake, unit_vectors

OBJECTS = """
SELECT c.relname FROM pg_class AS c WHERE c.relnamespace = to_regnamespace('siglip') AND c.relkind IN ('r', 'p', 'v',
'S') UNION ALL SELECT p.proname FROM pg_proc AS p WHERE p.pronamespace = to_regnamespace('siglip')
UNION ALL SELECT p.pubname FROM pg_publication AS p
UNION ALL SELECT t.typname FROM pg_type AS t JOIN pg_class AS c ON c.oid = t.typrelid
          WHERE t.typnamespace = to_regnamespace('siglip') AND c.relkind = 'c'
"""


def _objects(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {str(row[0]) for row in connection.execute(OBJECTS.encode()).fetchall()}


def _fill(url: str) -> list[int]:
    with Database(url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        image_ids = index_images(database, model_id, unit_vectors(30))
        search.search_by_text(database, make_fake, "cat")
        labeling.create_label_set(database, make_fake, "pets", ["cat", "dog"], replace=True)
        return image_ids


def test_up_down_and_up_again_from_an_empty_database(empty_database_url: str) -> None:
    assert migrate(empty_database_url) == siglip_migrations.head_revision()
    page = dump.dump_schema(empty_database_url)
    assert migrate(empty_database_url, "base") is None
    assert _objects(empty_database_url) == {"alembic_version"}
    migrate(empty_database_url)
    assert dump.dump_schema(empty_database_url) == page
    with Database(empty_database_url) as database:
        check_schema(database)


def test_up_down_and_up_again_from_a_filled_database(database_url: str) -> None:
    _fill(database_url)
    page = dump.dump_schema(database_url)
    assert migrate(database_url, "base") is None
    assert _objects(database_url) == {"alembic_version"}
    assert migrate(database_url) == siglip_migrations.head_revision()
    assert dump.dump_schema(database_url) == page
    assert len(_fill(database_url)) == 30


def test_going_down_to_the_tables_and_up_keeps_the_data(database_url: str) -> None:
    image_ids = _fill(database_url)
    assert migrate(database_url, "0001") == "0001"
    assert "search_images" not in _objects(database_url)
    migrate(database_url)
    with Database(database_url) as database:
        assert len(search.similar_images(database, image_ids[0], SearchOptions(limit=29))) == 29
        assert len(labeling.label_scores_of_image_id(database, image_ids[0], "pets")) == 2


def test_tables_that_were_attached_are_written_to_and_attached_again(database_url: str) -> None:
    with Database(database_url) as database, database.session() as connection:
        add_model(connection)
        create_products(connection, 3)
        connection.execute(ATTACH.encode())
        follow(connection)
    migrate(database_url, "0008")
    with Database(database_url) as database, database.session() as connection:
        connection.execute("UPDATE product SET price = 9 WHERE id = 1")
        connection.execute("INSERT INTO product (id, photo_url) VALUES (4, 'https://example.org/4.jpg')")
        assert len(images_of(connection)) == 3
        migrate(database_url)
        assert fetch_one(connection, ATTACH) == 4
        follow(connection)
        assert images_of(connection)["https://example.org/1.jpg"]["price"] == 9
        assert len(images_of(connection)) == 4


def test_every_revision_goes_up_and_down(empty_database_url: str) -> None:
    for script in sorted(path.name[:4] for path in _versions()):
        assert migrate(empty_database_url, script) == script
    for script in sorted((path.name[:4] for path in _versions()), reverse=True)[1:]:
        assert migrate(empty_database_url, script) == script
    assert migrate(empty_database_url, "base") is None


def test_each_revision_down_is_the_one_that_was_there_before(empty_database_url: str) -> None:
    """Comments of functions too, and the text of functions that were replaced."""
    migrate(empty_database_url, "0008")
    before = dump.dump_schema(empty_database_url)
    migrate(empty_database_url)
    migrate(empty_database_url, "0008")
    assert dump.dump_schema(empty_database_url) == before


def test_migrating_twice_changes_nothing(database_url: str) -> None:
    before = dump.dump_schema(database_url)
    assert migrate(database_url) == siglip_migrations.head_revision()
    assert dump.dump_schema(database_url) == before


def test_several_migrators_at_once_are_fine(empty_database_url: str) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from siglip_ingest.db.schema import migrate; print(migrate(sys.argv[1]))",
    ]
    processes = [
        subprocess.Popen([*command, empty_database_url], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    with ThreadPoolExecutor(3) as threads:
        revisions = list(threads.map(migrate, [empty_database_url] * 3))
    outputs = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert [*revisions, *outputs] == [siglip_migrations.head_revision()] * 6


def test_a_migrator_waits_for_the_one_that_runs(empty_database_url: str) -> None:
    from siglip_migrations.lock import MIGRATION_LOCK

    with psycopg.connect(empty_database_url, autocommit=True) as holder, ThreadPoolExecutor(1) as threads:
        holder.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK])
        waiting = threads.submit(migrate, empty_database_url)
        with pytest.raises(TimeoutError):
            waiting.result(0.5)
        assert _objects(empty_database_url) == set()
        holder.execute("SELECT pg_advisory_unlock(%s)", [MIGRATION_LOCK])
        assert waiting.result(60) == siglip_migrations.head_revision()


def test_a_migrator_that_waits_too_long_says_for_what(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from siglip_migrations import lock

    monkeypatch.setattr(lock, "LOCK_TIMEOUT_S", 0.1)
    with psycopg.connect(empty_database_url, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [lock.MIGRATION_LOCK])
        with pytest.raises(DatabaseError, match=r"Another migration has been running .* Try again"):
            migrate(empty_database_url)
    assert _objects(empty_database_url) == set()


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def unsuitable_url(services: Services, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database of another encoding than UTF-8."""
    name = f"siglip_{request.param.lower()}_{os.getpid()}"
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(
            f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' "
            "TEMPLATE template0".encode()
        )
        yield replace_database(services.database_url, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_a_database_that_is_not_utf8_is_refused_and_left_as_it_is(unsuitable_url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has the encoding (LATIN1|SQL_ASCII), .* ENCODING 'UTF8' TEMPLATE"):
        migrate(unsuitable_url)
    with psycopg.connect(unsuitable_url, client_encoding="utf8") as connection:
        schemas = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        assert connection.execute(schemas.encode()).fetchall() == [("public",)]
        assert connection.execute("SELECT extname FROM pg_extension").fetchall() == [("plpgsql",)]
    assert migrate(unsuitable_url, "base") is None


def test_schema_sql_is_what_the_migrations_make(database_url: str) -> None:
    assert dump.SCHEMA_FILE.read_text(encoding="utf-8") == dump.dump_schema(database_url), "run `make schema`"


def test_the_library_needs_the_newest_revision() -> None:
    assert siglip_migrations.head_revision() == SCHEMA_REVISION


def test_each_revision_has_scripts_up_and_down_with_headers() -> None:
    folder = files("siglip_migrations") / "sql"
    names = {path.name[:4] for path in _versions()}
    assert {entry.name for entry in folder.iterdir() if entry.is_dir()} == {*names, "dump", "extension"}
    down = {name for name in names if (folder / name / "down").is_dir()}
    assert {entry.name for entry in folder.iterdir() if entry.is_file()} == {
        f"{name}_down.sql" for name in names - down
    }
    for name in down:
        ups = {entry.name for entry in (folder / name).iterdir() if entry.is_file()}
        assert {entry.name for entry in (folder / name / "down").iterdir()} == ups, "each file up has one down"
    for file in Path(str(folder)).rglob("*.sql"):
        header = [line.partition(":")[0] for line in file.read_text(encoding="utf-8").splitlines()[:3]]
        assert header == ["-- Purpose", "-- Parameters", "-- A row means"], file


def test_every_function_of_the_schema_says_what_it_is_for(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        silent = connection.execute(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'siglip'::regnamespace AND "
            "obj_description(oid) IS NULL"
        ).fetchall()
    assert silent == []


def test_no_function_runs_with_its_owner_s_rights(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = connection.execute(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'siglip'::regnamespace AND prosecdef"
        ).fetchall()
    assert found == []


def test_the_extension_lands_where_every_role_finds_it(database_url: str) -> None:
    """The role of the embedded PostgreSQL is called siglip: the schema of that name comes first in its search_path."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT 'vector'::regtype::text").fetchone() == ("vector",)
        assert connection.execute(
            "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
        ).fetchone() == ("public",)


def test_an_extension_in_a_schema_of_its_own_is_found(empty_database_url: str) -> None:
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
    migrate(empty_database_url)
    assert len(_fill(empty_database_url)) == 30
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("SET search_path = pg_catalog")
        assert len(connection.execute("SELECT * FROM siglip.search_images('cat')").fetchall()) == 10


@pytest.mark.parametrize("revision", ["0099", "", "heads; DROP"])
def test_an_unknown_revision_is_refused(database_url: str, revision: str) -> None:
    with pytest.raises(InvalidInputError, match="There are base, 0001,"):
        migrate(database_url, revision)


def test_a_schema_of_a_newer_version_is_left_alone(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE siglip.alembic_version SET version_num = '9999'")
    before = _objects(database_url)
    with pytest.raises(SchemaVersionError, match="upgrade here"):
        migrate(database_url)
    assert _objects(database_url) == before


def test_a_database_that_can_t_be_reached_is_named(database_url: str) -> None:
    with pytest.raises(DatabaseError, match="refused the password") as caught:
        migrate(database_url.replace("@", "wr0ng@"))
    assert "wr0ng" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="can't be read"):
        migrate("postgresql//x")


def _versions() -> list[Path]:
    return list((Path(str(files("siglip_migrations"))) / "versions").glob("0*.py"))
