"""What becomes of an attachment: its table is renamed, altered, dropped, restored; it is detached; it has faults."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.services.supervisor.postgres import find_binaries
from tests.database.attached_tables import (
    ATTACH,
    add_products,
    changes,
    create_products,
    embed_all,
    fetch,
    fetch_one,
    follow,
    images_of,
    rows_of,
)
from tests.database.helpers import states, text_vector
from tests.programs import wait_until

PROBLEM = "SELECT problem FROM siglip.attached_tables"


@pytest.fixture
def connection(database: Database, model_id: int) -> Any:
    with database.session() as session:
        create_products(session, 3)
        session.execute(ATTACH.encode())
        follow(session)
        yield session


def test_renaming_the_table_and_its_columns_changes_nothing(
    connection: Connection, database: Database, model_id: int
) -> None:
    connection.execute("CREATE SCHEMA store")
    connection.execute('ALTER TABLE product RENAME TO "Article\'s"')
    connection.execute('ALTER TABLE "Article\'s" SET SCHEMA store')
    for old, new in (("id", "Key"), ("photo_url", "select"), ("price", 'a "b"')):
        connection.execute(
            f'ALTER TABLE store."Article\'s" RENAME {old} TO "{new.replace(chr(34), chr(34) * 2)}"'.encode()
        )
    connection.execute("INSERT INTO store.\"Article's\" VALUES (4, 'n', 'https://example.org/4.jpg', 'hats', 4)")
    connection.execute('UPDATE store."Article\'s" SET "a ""b""" = 9 WHERE "Key" = 1')
    connection.execute('DELETE FROM store."Article\'s" WHERE "Key" = 2')
    follow(connection)
    assert images_of(connection) == {
        "https://example.org/1.jpg": {"category": "shoes", "price": 9.0},  # as they were called
        "https://example.org/3.jpg": {"category": "shoes", "price": 3.0},
        "https://example.org/4.jpg": {"category": "hats", "price": 4.0},
    }
    assert fetch(
        connection, "SELECT id_columns, uri_column, metadata_columns, problem FROM siglip.attached_tables"
    ) == [(["Key"], "select", ["category", 'a "b"'], None)]
    embed_all(database, model_id)
    query = half_vector(text_vector("x"))
    assert len(fetch(connection, "SELECT * FROM siglip.search('store.\"Article''s\"', %s::halfvec)", query)) == 3
    assert fetch_one(connection, "SELECT siglip.detach('store.\"Article''s\"')") == 0


def test_without_a_metadata_column_the_others_are_followed(connection: Connection) -> None:
    connection.execute("ALTER TABLE product DROP COLUMN category")
    connection.execute("UPDATE product SET price = 8 WHERE id = 1")
    add_products_without_category = b"INSERT INTO product VALUES (4, 'n', 'https://example.org/4.jpg', 4)"
    connection.execute(add_products_without_category)
    follow(connection)
    assert images_of(connection)["https://example.org/1.jpg"] == {"category": "shoes", "price": 8.0}
    assert images_of(connection)["https://example.org/4.jpg"] == {"price": 4.0}
    assert fetch_one(connection, PROBLEM) is None


@pytest.mark.parametrize("column", ["photo_url", "id"])
def test_without_its_column_writes_go_on_and_the_problem_is_shown(connection: Connection, column: str) -> None:
    connection.execute("UPDATE product SET price = 5")
    connection.execute(f"ALTER TABLE product DROP COLUMN {column}".encode())
    values = "(name) VALUES ('x')" if column == "id" else "(id, name) VALUES (9, 'x')"
    connection.execute(f"INSERT INTO product {values}".encode())
    connection.execute("UPDATE product SET name = 'y'")
    connection.execute("DELETE FROM product WHERE price > 100")
    assert follow(connection) == 0
    assert f"The column {column} of public.product" in fetch_one(connection, PROBLEM)
    assert len(images_of(connection)) == 3
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="is gone"):
        connection.execute("SELECT siglip.search('public.product', %s::halfvec)", [half_vector(text_vector("x"))])
    assert fetch_one(connection, "SELECT siglip.detach('public.product', delete_images => true)") == 3
    follow(connection)
    assert images_of(connection) == {}


def test_a_column_that_is_gone_is_shown_before_anything_is_written(connection: Connection) -> None:
    connection.execute("ALTER TABLE product DROP COLUMN photo_url")
    assert "The column photo_url of public.product" in fetch_one(connection, PROBLEM)


def test_a_column_of_another_type_is_followed_or_shown(connection: Connection) -> None:
    connection.execute(
        "ALTER TABLE product ALTER id TYPE bigint, ALTER photo_url TYPE varchar(300), ALTER price TYPE integer"
    )
    add_products(connection, 4, 4)
    follow(connection)
    assert images_of(connection)["https://example.org/4.jpg"]["price"] == 4
    connection.execute("ALTER TABLE product ALTER photo_url TYPE integer USING 1")
    connection.execute("UPDATE product SET photo_url = 2")
    assert follow(connection) == 0
    assert "has the type integer" in fetch_one(connection, PROBLEM)


def test_a_dropped_table_takes_its_images_with_it(connection: Connection) -> None:
    connection.execute("DROP TABLE product")
    follow(connection)
    assert images_of(connection) == {}
    assert fetch_one(connection, "SELECT count(*) FROM siglip.attached_tables") == 0
    assert rows_of(connection) == []


def test_a_table_in_its_place_keeps_the_vectors(connection: Connection, database: Database, model_id: int) -> None:
    embed_all(database, model_id)
    connection.execute("CREATE TABLE public.next (LIKE product INCLUDING ALL)")
    connection.execute("INSERT INTO public.next SELECT * FROM product WHERE id < 3")
    connection.execute("SELECT siglip.attach('public.next', 'photo_url', collection => 'shop')")
    follow(connection)
    connection.execute("DROP TABLE product")
    connection.execute("ALTER TABLE next RENAME TO product")
    follow(connection)
    assert sorted(images_of(connection)) == ["https://example.org/1.jpg", "https://example.org/2.jpg"]
    assert states(connection, model_id) == {"done": 2}


def test_a_table_that_is_detached_keeps_its_images(connection: Connection, database: Database, model_id: int) -> None:
    embed_all(database, model_id)
    add_products(connection, 4, 4)
    assert fetch_one(connection, "SELECT siglip.detach('public.product')") == 0
    assert fetch_one(connection, "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'public.product'::regclass") == 0
    add_products(connection, 5, 5)
    assert follow(connection) == 0
    assert len(images_of(connection)) == 3
    with pytest.raises(psycopg.errors.NoDataFound, match="is not attached"):
        connection.execute("SELECT siglip.detach('public.product')")
    connection.execute(ATTACH.encode())
    follow(connection)
    assert states(connection, model_id) == {"done": 3, "queued": 2}  # what was embedded stays so
    connection.execute("DELETE FROM product")
    follow(connection)
    assert images_of(connection) == {}


def test_images_that_another_table_has_stay(connection: Connection) -> None:
    connection.execute("CREATE TABLE public.other (id integer PRIMARY KEY, uri text)")
    connection.execute("INSERT INTO public.other VALUES (1, 'https://example.org/1.jpg')")
    connection.execute("SELECT siglip.attach('public.other', 'uri', collection => 'shop')")
    follow(connection)
    assert fetch_one(connection, "SELECT siglip.detach('public.product', delete_images => true)") == 3
    follow(connection)
    assert list(images_of(connection)) == ["https://example.org/1.jpg"]


def test_a_table_is_attached_once(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.DuplicateObject, match="attached already"):
        connection.execute(ATTACH.encode())


def test_who_attaches_it_at_the_same_time_is_told(connection: Connection, database: Database) -> None:
    connection.execute("CREATE TABLE public.other (LIKE product INCLUDING ALL)")
    attach = b"SELECT siglip.attach('public.other', 'photo_url')"
    with database.session() as second, ThreadPoolExecutor() as threads:
        with connection.transaction():
            connection.execute(attach)
            attaching = threads.submit(second.execute, attach)
            wait_until(lambda: fetch_one(connection, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
        with pytest.raises(psycopg.errors.DuplicateObject, match="other is attached already"):
            attaching.result(30)


def test_attaching_needs_a_transaction_that_sees_all_rows(connection: Connection) -> None:
    connection.execute("SELECT siglip.detach('public.product')")
    connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="READ COMMITTED"):
        connection.execute(ATTACH.encode())
    connection.execute("ROLLBACK")


def test_rows_that_are_written_meanwhile_are_not_missed(connection: Connection, database: Database) -> None:
    connection.execute("SELECT siglip.detach('public.product', delete_images => true)")
    with database.session() as writer:
        writer.execute("BEGIN")
        add_products(writer, 4, 4)
        with database.session() as owner:
            attaching = threading.Thread(target=owner.execute, args=[ATTACH.encode()])
            attaching.start()
            attaching.join(0.3)
            assert attaching.is_alive()  # it waits for the writer
            writer.execute("COMMIT")
            attaching.join(10)
    follow(connection)
    assert len(images_of(connection)) == 4


def test_a_transaction_that_began_before_the_table_was_attached_is_run_again(
    connection: Connection, database: Database
) -> None:
    connection.execute("SELECT siglip.detach('public.product')")
    write = "UPDATE public.product SET photo_url = 'https://example.org/new.jpg' WHERE id = 1"
    with database.session() as other:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute("SELECT 1 FROM siglip.attachments")
        connection.execute(ATTACH.encode())
        with pytest.raises(psycopg.errors.SerializationFailure, match="was attached after this transaction began"):
            other.execute(write.encode())
        other.execute("ROLLBACK")
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        other.execute(write.encode())
        other.execute("COMMIT")
    follow(connection)
    assert "https://example.org/new.jpg" in images_of(connection)


def test_one_at_a_time_follows(connection: Connection, database: Database) -> None:
    add_products(connection, 4, 4)
    with database.session() as other:
        other.execute("BEGIN")
        assert fetch_one(other, "SELECT siglip.follow_attached()") == 1
        assert fetch_one(connection, "SELECT siglip.follow_attached()") == 0
        other.execute("ROLLBACK")  # it is killed
    assert len(images_of(connection)) == 3
    assert follow(connection) == 1
    assert len(images_of(connection)) == 4


def test_a_locked_table_holds_up_no_other(connection: Connection, database: Database) -> None:
    connection.execute("CREATE TABLE public.other (id integer PRIMARY KEY, uri text)")
    connection.execute("SELECT siglip.attach('public.other', 'uri')")
    with database.session() as holder:
        add_products(connection, 4, 4)
        connection.execute("INSERT INTO public.other VALUES (1, 'https://a/1')")
        holder.execute("BEGIN; LOCK TABLE public.product")
        follow(connection)
        assert list(images_of(connection, "other")) == ["https://a/1"]
        assert len(images_of(connection)) == 3
        holder.execute("ROLLBACK")
    follow(connection)
    assert len(images_of(connection)) == 4
    assert fetch(connection, PROBLEM) == [(None,), (None,)]


def test_changes_that_commit_late_are_not_missed(connection: Connection, database: Database) -> None:
    with database.session() as late:
        late.execute("BEGIN")
        add_products(late, 4, 4)
        add_products(connection, 5, 5)
        follow(connection)
        late.execute("COMMIT")
    assert changes(connection) == [["4"]]
    follow(connection)
    assert len(images_of(connection)) == 5


def test_forged_notes_do_no_harm(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO siglip.attached_changes (attachment_id, row_keys) SELECT a.attachment_id, n.keys"
        " FROM siglip.attachments AS a, (VALUES ('{not a number,99999999999999,7,NULL}'::text[]), ('{}'), (NULL),"
        " ('{{1},{2}}'), (array_fill('1'::text, ARRAY[5000]))) AS n (keys)"
    )
    connection.execute("INSERT INTO siglip.attached_changes (attachment_id, row_keys) VALUES (12345, '{1}')")
    follow(connection)
    assert len(images_of(connection)) == 3
    assert fetch_one(connection, PROBLEM) is None


def test_a_table_with_a_problem_does_not_stop_the_others(connection: Connection) -> None:
    connection.execute("CREATE TABLE public.other (id integer PRIMARY KEY, uri text)")
    connection.execute("SELECT siglip.attach('public.other', 'uri')")
    connection.execute("DROP TRIGGER siglip_note_insert ON product; DROP TRIGGER siglip_note_update ON product")
    connection.execute("DELETE FROM product WHERE id = 1")
    connection.execute("DROP TRIGGER siglip_note_delete ON product; DROP TRIGGER siglip_note_truncate ON product")
    connection.execute("INSERT INTO public.other VALUES (1, 'https://a/1')")
    follow(connection)
    assert list(images_of(connection, "other")) == ["https://a/1"]
    assert fetch(connection, PROBLEM + " ORDER BY attachment_id")[0][0].startswith(
        "The triggers of public.product are gone"
    )
    assert len(images_of(connection)) == 3


def test_without_a_model_changes_wait(database: Database) -> None:
    with database.session() as connection:
        create_products(connection, 2)
        connection.execute(ATTACH.encode())
        assert follow(connection) == 0
        assert changes(connection) == [["1", "2"]]
        assert fetch_one(connection, PROBLEM) is None


def test_a_table_restored_from_a_dump_is_found_by_its_names(connection: Connection, model_id: int) -> None:
    """After a restore the table has another oid, and its columns other numbers where some were dropped before."""
    connection.execute("ALTER TABLE product RENAME photo_url TO address")
    connection.execute("UPDATE product SET price = 2 WHERE id = 1")
    follow(connection)
    connection.execute(
        "CREATE TABLE public.restored (name text, address text, price numeric, category text, id integer PRIMARY KEY)"
    )
    connection.execute("INSERT INTO restored (id, address) SELECT id, address FROM product")
    for event in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
        tables = {"INSERT": "NEW TABLE AS new_rows", "DELETE": "OLD TABLE AS old_rows"}
        tables["UPDATE"] = f"{tables['DELETE']} {tables['INSERT']}"
        referencing = f"REFERENCING {tables[event]}" if event in tables else ""
        connection.execute(
            f"CREATE TRIGGER siglip_note AFTER {event} ON restored {referencing}"
            " FOR EACH STATEMENT EXECUTE FUNCTION siglip.note_attached_changes()".replace(
                "siglip_note ", f"siglip_note_{event} "
            ).encode()
        )
    connection.execute("UPDATE siglip.attachments SET attached_table = 'public.restored'")
    connection.execute("INSERT INTO restored (id, address) VALUES (9, 'https://example.org/9.jpg')")
    connection.execute("UPDATE restored SET price = 7 WHERE id = 3")
    follow(connection)
    assert [key for key, _, _ in rows_of(connection)] == ["1", "2", "3", "9"]
    assert images_of(connection)["https://example.org/3.jpg"]["price"] == 7
    connection.execute("ALTER TABLE restored RENAME address TO photo")
    connection.execute("DELETE FROM restored WHERE id = 2")
    follow(connection)
    assert [key for key, _, _ in rows_of(connection)] == ["1", "3", "9"]


def test_coverage_is_shown(connection: Connection, database: Database, model_id: int) -> None:
    embed_all(database, model_id)
    connection.execute(
        "INSERT INTO product VALUES (4, 'twin', 'https://example.org/1.jpg'), (5, 'new', 'https://example.org/5.jpg')"
    )
    columns = "rows_waiting, rows, images, embedded, failed"
    assert fetch(connection, f"SELECT {columns} FROM siglip.attached_tables") == [(2, 3, 3, 3, 0)]
    follow(connection)
    connection.execute(
        "UPDATE siglip.ingest_items SET state = 'failed', error_code = 'x', error_message = 'y' WHERE state = 'queued'"
    )
    assert fetch(connection, f"SELECT {columns} FROM siglip.attached_tables") == [(0, 5, 4, 3, 1)]


def test_images_that_failed_are_not_tried_again_for_other_metadata(connection: Connection, model_id: int) -> None:
    connection.execute("UPDATE siglip.ingest_items SET state = 'failed', error_code = 'x', error_message = 'y'")
    connection.execute("UPDATE product SET price = 100")
    follow(connection)
    assert states(connection, model_id) == {"failed": 3}
    assert fetch_one(connection, "SELECT siglip.retry_failed('shop')") == 3


def test_images_that_were_deleted_by_hand_come_back_by_refreshing(connection: Connection) -> None:
    connection.execute("SELECT siglip.delete_images(collection => 'shop')")
    assert rows_of(connection) == []
    assert follow(connection) == 0
    assert fetch_one(connection, "SELECT siglip.refresh_attached('public.product')") == 3
    follow(connection)
    assert len(images_of(connection)) == 3


def test_a_dump_that_is_restored_goes_on(
    connection: Connection, database_url: str, empty_database_url: str, model_id: int
) -> None:
    connection.execute("ALTER TABLE product DROP COLUMN name")  # the numbers of the columns change with the restore
    follow(connection)
    programs = find_binaries()
    dump = subprocess.run([programs / "pg_dump", "--no-owner", database_url], capture_output=True, check=True).stdout
    restore = [programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", empty_database_url]
    done = subprocess.run(restore, input=dump, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    with Database(empty_database_url) as database, database.session() as restored:
        restored.execute("UPDATE product SET price = 7 WHERE id = 1")
        restored.execute("DELETE FROM product WHERE id = 2")
        restored.execute("INSERT INTO product VALUES (4, 'https://example.org/4.jpg', 'hats', 4)")
        follow(restored)
        assert images_of(restored) == {
            "https://example.org/1.jpg": {"category": "shoes", "price": 7.0},
            "https://example.org/3.jpg": {"category": "shoes", "price": 3.0},
            "https://example.org/4.jpg": {"category": "hats", "price": 4.0},
        }
