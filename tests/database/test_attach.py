"""An attached table: its rows come in, and what happens to them is followed."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
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
from tests.database.helpers import add_model, states, text_vector


@pytest.fixture
def connection(database: Database, model_id: int) -> Any:
    """A session on a database with three products that are attached and followed."""
    with database.session() as session:
        create_products(session, 3)
        assert fetch_one(session, ATTACH) == 3
        assert follow(session) == 1
        yield session


def test_rows_that_are_there_are_queued(connection: Connection, model_id: int) -> None:
    assert images_of(connection) == {
        f"https://example.org/{n}.jpg": {"category": "shoes", "price": float(n)} for n in (1, 2, 3)
    }
    assert rows_of(connection) == [(str(n), 1, f"https://example.org/{n}.jpg") for n in (1, 2, 3)]
    assert states(connection, model_id) == {"queued": 3}
    assert changes(connection) == []


def test_inserts_are_followed(connection: Connection) -> None:
    add_products(connection, 4, 5)
    assert changes(connection) == [["4", "5"]]
    assert follow(connection) == 1
    assert len(images_of(connection)) == 5


def test_a_row_without_an_address_has_no_image(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO product (id, photo_url) VALUES (4, NULL), (5, ''), (6, ' '), (7, repeat('x', 2001))"
    )
    follow(connection)
    assert len(images_of(connection)) == 3
    connection.execute("UPDATE product SET photo_url = ' https://example.org/4.jpg\n' WHERE id = 4")
    connection.execute("UPDATE product SET photo_url = NULL WHERE id = 1")
    follow(connection)
    assert [row[0] for row in rows_of(connection)] == ["2", "3", "4"]
    assert sorted(images_of(connection)) == [f"https://example.org/{n}.jpg" for n in (2, 3, 4)]


def test_a_changed_address_is_another_image(connection: Connection, model_id: int) -> None:
    connection.execute("UPDATE product SET photo_url = 'https://example.org/new.jpg' WHERE id = 2")
    assert changes(connection) == [["2"]]
    follow(connection)
    assert rows_of(connection)[1] == ("2", 1, "https://example.org/new.jpg")
    assert "https://example.org/2.jpg" not in images_of(connection)
    assert states(connection, model_id) == {"queued": 3}


def test_changed_metadata_change_nothing_else(connection: Connection, database: Database, model_id: int) -> None:
    assert embed_all(database, model_id) == 3
    connection.execute("UPDATE product SET price = 7.5, category = NULL WHERE id = 2")
    follow(connection)
    assert images_of(connection)["https://example.org/2.jpg"] == {"category": None, "price": 7.5}
    assert states(connection, model_id) == {"done": 3}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE product SET name = 'other'",
        "UPDATE product SET photo_url = photo_url, price = price, name = 'other'",
        "UPDATE product SET price = 9 WHERE false",
        "DELETE FROM product WHERE false",
        "INSERT INTO product SELECT * FROM product WHERE false",
    ],
)
def test_what_changes_no_image_does_nothing(connection: Connection, statement: str) -> None:
    connection.execute(statement.encode())
    assert changes(connection) == []


def test_deleted_rows_take_their_images_with_them(connection: Connection, database: Database, model_id: int) -> None:
    embed_all(database, model_id)
    connection.execute("DELETE FROM product WHERE id < 3")
    follow(connection)
    assert list(images_of(connection)) == ["https://example.org/3.jpg"]
    assert fetch_one(connection, "SELECT count(*) FROM siglip.image_embeddings") == 1


def test_two_rows_share_an_image_until_the_last_of_them_goes(connection: Connection) -> None:
    connection.execute("INSERT INTO product VALUES (4, 'twin', 'https://example.org/1.jpg', 'hats', 4)")
    follow(connection)
    assert len(images_of(connection)) == 3
    assert images_of(connection)["https://example.org/1.jpg"] == {"category": "hats", "price": 4.0}
    connection.execute("DELETE FROM product WHERE id = 4")
    follow(connection)
    assert images_of(connection)["https://example.org/1.jpg"] == {"category": "shoes", "price": 1.0}
    connection.execute("DELETE FROM product WHERE id = 1")
    follow(connection)
    assert "https://example.org/1.jpg" not in images_of(connection)


def test_a_changed_primary_key_keeps_the_image(connection: Connection, database: Database, model_id: int) -> None:
    embed_all(database, model_id)
    connection.execute("UPDATE product SET id = 10 WHERE id = 2")
    assert sorted(changes(connection)[0] or []) == ["10", "2"]
    follow(connection)
    assert [(key, uri) for key, _, uri in rows_of(connection)][1] == ("10", "https://example.org/2.jpg")
    assert states(connection, model_id) == {"done": 3}


def test_keys_that_are_swapped_are_followed(connection: Connection) -> None:
    connection.execute("UPDATE product SET photo_url = 'https://example.org/' || (4 - id) || '.jpg'")
    follow(connection)
    assert rows_of(connection) == [(str(n), 1, f"https://example.org/{4 - n}.jpg") for n in (1, 2, 3)]
    assert len(images_of(connection)) == 3


@pytest.mark.parametrize("max_rows", [3, 2000])
@pytest.mark.parametrize("statement", ["id = -id", "id = id + 100", "id = 21 - id"])
def test_many_keys_that_change_keep_their_images(connection: Connection, statement: str, max_rows: int) -> None:
    connection.execute("ALTER TABLE product DROP CONSTRAINT product_pkey, ADD UNIQUE (id) DEFERRABLE")
    add_products(connection, 4, 20)
    follow(connection)
    before = fetch(connection, "SELECT image_id, uri FROM siglip.images ORDER BY 1")
    connection.execute(f"UPDATE product SET {statement}".encode())
    follow(connection, max_rows)
    assert fetch(connection, "SELECT image_id, uri FROM siglip.images ORDER BY 1") == before
    assert len(rows_of(connection)) == 20
    assert fetch(connection, "SELECT 1 FROM siglip.released_images") == []


def test_an_update_of_very_many_rows_notes_each_key_once(connection: Connection) -> None:
    # Keys in no order: the plans that PostgreSQL may choose for so many would give them in different ones.
    connection.execute("CREATE TABLE public.large (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), uri text, n integer)")
    connection.execute("SELECT siglip.attach('public.large', 'uri', metadata_columns => '{n}')")
    connection.execute("INSERT INTO public.large (uri) SELECT 'https://a/' || n FROM generate_series(1, 300000) AS n")
    connection.execute("TRUNCATE siglip.attached_changes")
    connection.execute("UPDATE public.large SET n = 1")
    noted = fetch(
        connection,
        "SELECT count(*), count(DISTINCT k.key)"
        " FROM siglip.attached_changes AS c CROSS JOIN unnest(c.row_keys) AS k (key)",
    )
    assert noted == [(300_000, 300_000)]


def test_truncate_takes_all_images(connection: Connection) -> None:
    connection.execute("TRUNCATE product")
    add_products(connection, 3, 4)
    follow(connection)
    assert sorted(images_of(connection)) == ["https://example.org/3.jpg", "https://example.org/4.jpg"]


def test_a_transaction_that_is_rolled_back_leaves_no_trace(connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        add_products(connection, 4, 9)
        connection.execute("DELETE FROM product WHERE id = 1")
        connection.execute("UPDATE product SET price = 3")
        assert changes(connection)
    assert changes(connection) == []
    with connection.transaction(force_rollback=True):
        connection.execute("TRUNCATE product")
    assert follow(connection) == 0
    assert len(images_of(connection)) == 3


def test_an_upsert_is_followed(connection: Connection) -> None:
    connection.execute(
        "INSERT INTO product (id, photo_url, price) VALUES (3, 'https://example.org/3b.jpg', 1),"
        " (4, 'https://example.org/4.jpg', 2) ON CONFLICT (id) DO UPDATE SET photo_url = excluded.photo_url"
    )
    follow(connection)
    assert [uri for _, _, uri in rows_of(connection)][2:] == ["https://example.org/3b.jpg", "https://example.org/4.jpg"]


def test_copy_is_followed(connection: Connection) -> None:
    with connection.cursor().copy("COPY product (id, photo_url) FROM STDIN") as copy:
        for n in range(10, 2510):
            copy.write_row((n, f"https://example.org/{n}.jpg"))
    assert [len(keys or []) for keys in changes(connection)] == [2500]
    assert follow(connection, 700) > 3
    assert len(images_of(connection)) == 2503


def test_merge_is_followed(connection: Connection) -> None:
    connection.execute(
        "MERGE INTO product AS p USING (VALUES (1, NULL), (2, 'https://example.org/2b.jpg'), (9, 'https://example.org/9.jpg'))"
        " AS n (id, uri) ON p.id = n.id"
        " WHEN MATCHED AND n.uri IS NULL THEN DELETE WHEN MATCHED THEN UPDATE SET photo_url = n.uri"
        " WHEN NOT MATCHED THEN INSERT (id, photo_url) VALUES (n.id, n.uri)"
    )
    follow(connection)
    assert rows_of(connection) == [
        ("2", 1, "https://example.org/2b.jpg"),
        ("3", 1, "https://example.org/3.jpg"),
        ("9", 1, "https://example.org/9.jpg"),
    ]


def test_writers_of_a_data_modifying_with_are_followed(connection: Connection) -> None:
    connection.execute(
        "WITH gone AS (DELETE FROM product WHERE id = 1 RETURNING *)"
        " INSERT INTO product SELECT id + 100, name, photo_url, category, price FROM gone"
    )
    follow(connection)
    assert [key for key, _, _ in rows_of(connection)] == ["101", "2", "3"]
    assert len(images_of(connection)) == 3


def test_rows_of_a_table_are_found_with_their_scores(connection: Connection, database: Database, model_id: int) -> None:
    embed_all(database, model_id)
    query = half_vector(text_vector("https://example.org/2.jpg"))
    found = fetch(
        connection,
        "SELECT p.id, p.name, s.score FROM siglip.search('public.product', %s::halfvec, 2) AS s"
        " JOIN public.product AS p ON p.id = s.row_key::integer ORDER BY s.score DESC",
        query,
    )
    assert found[0][:2] == (2, "product 2")
    assert found[0][2] == pytest.approx(0.99966, abs=1e-3)
    assert len(found) == 2
    with pytest.raises(psycopg.errors.NoDataFound, match="is not attached"):
        connection.execute("SELECT siglip.search('siglip.models', 'red shoes')")


def test_postgresql_16_does_the_same(postgres_16_url: str) -> None:
    with Database(postgres_16_url) as database, database.session() as connection:
        with connection.transaction():
            model_id = add_model(connection)
        create_products(connection, 3)
        connection.execute(ATTACH.encode())
        connection.execute("UPDATE product SET price = 7, id = 9 WHERE id = 1")
        connection.execute("DELETE FROM product WHERE id = 2")
        follow(connection)
        assert embed_all(database, model_id) == 2
        assert images_of(connection)["https://example.org/1.jpg"]["price"] == 7
        query = half_vector(text_vector("x"))
        found = fetch(connection, "SELECT row_key FROM siglip.search('public.product', %s::halfvec)", query)
        assert sorted(found) == [("3",), ("9",)]
        connection.execute("TRUNCATE product")
        follow(connection)
        assert images_of(connection) == {}
