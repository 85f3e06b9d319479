"""Images that are deleted go with all that was made of them; what another image has stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from siglip_ingest import SiglipClient
from siglip_ingest.db import Connection, Database, images
from siglip_ingest.db.images import Selection
from siglip_ingest.errors import InvalidInputError
from tests.database.helpers import FakeEmbedder, claim, complete, completed, image_rows, index_images, unit_vectors

TABLES = ("images", "image_bytes", "ingest_items", "contents", "image_embeddings", "released_contents")


@pytest.fixture
def client(database: Database, database_url: str) -> SiglipClient:
    return SiglipClient(database_url=database_url, embedder=FakeEmbedder())


def count_rows(connection: Connection) -> dict[str, int]:
    counts: dict[str, int] = {}
    for table in TABLES:
        row: Any = connection.execute(
            sql.SQL("SELECT count(*) FROM siglip.{}").format(sql.Identifier(table))
        ).fetchone()
        counts[table] = row[0]
    return counts


def test_nothing_of_an_image_stays(database: Database, model_id: int, client: SiglipClient) -> None:
    rows = image_rows(3, content=b"bytes")
    with database.connection() as connection:
        image_ids = images.insert_images(connection, rows, model_id).image_ids
        chunk = claim(connection, model_id)
        vectors = unit_vectors(3)
        complete(connection, model_id, chunk.lease_token, list(map(completed, chunk.items, vectors)))
    with client:
        assert client.delete_images(image_ids[:2]) == 2
        assert client.delete_images(image_ids[:2]) == 0
        with database.connection() as connection:
            assert count_rows(connection) == dict.fromkeys(TABLES, 1) | {"released_contents": 0}
        assert client.delete_images(image_ids[2:]) == 1
    with database.connection() as connection:
        assert count_rows(connection) == dict.fromkeys(TABLES, 0)


def test_a_content_that_another_image_has_stays(database: Database, model_id: int, client: SiglipClient) -> None:
    first, second, third = index_images(database, model_id, unit_vectors(3), contents=["same", "same", "other"])
    with client, database.connection() as connection:
        assert client.delete_images([first]) == 1
        assert count_rows(connection)["image_embeddings"] == 2
        assert client.delete_images([second, third]) == 2
        assert count_rows(connection)["image_embeddings"] == count_rows(connection)["contents"] == 0


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        ({"uris": ["file:///00000.jpg", "file:///nothing.jpg"]}, 11),
        ({"keys": ["k1", 2]}, 10),
        ({"collection": "default"}, 2),
        ({"collection": "nothing"}, 12),
        ({"filter": {"album": "2026"}}, 7),
        ({"filter": {"album": "2026"}, "collection": "other"}, 12),
        ({"image_ids": range(1, 4), "filter": {"album": "2026"}}, 9),
    ],
)
def test_all_conditions_must_fit(
    database: Database, model_id: int, client: SiglipClient, conditions: dict[str, Any], left: int
) -> None:
    rows = [
        images.ImageRow(
            collection="default",
            uri=f"file:///{n:05}.jpg",
            key={1: "k1", 2: "2"}.get(n),
            metadata={"album": "2026"} if n < 5 else {},
        )
        for n in range(10)
    ]
    with database.connection() as connection:
        images.insert_images(connection, [*rows, *image_rows(2, collection="other")], model_id)
        connection.execute("UPDATE siglip.images SET uri = uri || '?' WHERE collection = 'other'")
    with client:
        assert client.delete_images(**conditions, dry_run=True) == 12 - left
        with database.connection() as connection:
            assert count_rows(connection)["images"] == 12
        assert client.delete_images(**conditions) == 12 - left
    with database.connection() as connection:
        assert count_rows(connection)["images"] == count_rows(connection)["ingest_items"] == left


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({}, "Nothing says which images"),
        ({"filter": {}}, "fits every image"),
        ({"filter": [1]}, "filter must be a mapping"),
        ({"uris": "file:///a.jpg"}, "uris are a sequence"),
        ({"uris": [Path("a")]}, "A URI is text"),
        ({"keys": 5}, "keys are a sequence"),
        ({"keys": [1.5]}, "A key is text"),
        ({"image_ids": ["1"]}, "image_id must be a whole number"),
        ({"collection": ""}, "A collection needs a name"),
    ],
)
def test_what_would_delete_by_mistake_is_refused(
    database: Database, model_id: int, client: SiglipClient, conditions: dict[str, Any], words: str
) -> None:
    index_images(database, model_id, unit_vectors(2))
    with client, pytest.raises(InvalidInputError, match=words):
        client.delete_images(**conditions)
    with database.connection() as connection:
        assert count_rows(connection)["images"] == 2


def test_sql_says_the_same(database: Database, model_id: int) -> None:
    index_images(database, model_id, unit_vectors(5))
    with database.connection() as connection:
        for call in (
            "delete_images()",
            "count_images()",
            "delete_images(filter => '[1]')",
            "delete_images(max_images => 0)",
        ):
            with pytest.raises(psycopg.errors.InvalidParameterValue), connection.transaction():
                connection.execute(f"SELECT siglip.{call}".encode())
        deleted = connection.execute("SELECT siglip.delete_images(collection => 'default', max_images => 3)").fetchone()
        assert deleted == (3,)
        assert count_rows(connection)["image_embeddings"] == 2


def test_more_than_a_transaction_takes_are_deleted_one_after_the_other(
    database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "DELETED_AT_ONCE", 4)
    index_images(database, model_id, unit_vectors(10))
    assert images.delete_images(database, Selection(collection="default")) == 10


def test_an_image_that_a_worker_has_is_not_stored_afterwards(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(2), model_id)
        chunk = claim(connection, model_id)
    assert images.delete_images(database, Selection(collection="default")) == 2
    with database.connection() as connection:
        results = list(map(completed, chunk.items, unit_vectors(2)))
        assert complete(connection, model_id, chunk.lease_token, results) == 0
        assert count_rows(connection) == dict.fromkeys(TABLES, 0)


def test_a_role_that_sees_a_part_leaves_the_vectors_to_maintenance(database: Database, model_id: int) -> None:
    """It can't know whether an image that it doesn't see has the content."""
    index_images(database, model_id, unit_vectors(2), contents=["same", "same"])
    with database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE deleter_of_a_part")
        connection.execute("GRANT USAGE ON SCHEMA siglip TO deleter_of_a_part")
        connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA siglip TO deleter_of_a_part")
        connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
        connection.execute("CREATE POLICY part ON siglip.images USING (uri LIKE '%00000.jpg')")
        connection.execute("SET LOCAL ROLE deleter_of_a_part")
        assert connection.execute("SELECT siglip.delete_images(collection => 'default')").fetchone() == (1,)
        connection.execute("RESET ROLE")
        assert count_rows(connection) == {
            "images": 1,
            "image_bytes": 0,
            "ingest_items": 1,
            "contents": 1,
            "image_embeddings": 1,
            "released_contents": 1,
        }
