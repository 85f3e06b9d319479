"""Attached tables in Python."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from siglip_ingest import DatabaseError, InvalidInputError, NotFoundError, SiglipClient
from siglip_ingest.db import Database, attached
from tests.database.attached_tables import create_products, embed_all, images_of
from tests.database.helpers import FakeEmbedder


@pytest.fixture
def client(database: Database, database_url: str, model_id: int) -> Iterator[SiglipClient]:
    with database.connection() as connection:
        create_products(connection, 3)
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as opened:
        yield opened


def test_a_table_is_attached_and_detached(client: SiglipClient, database: Database, model_id: int) -> None:
    count = client.attach_table(
        "public.product", "photo_url", id_column="id", collection="shop", metadata_columns=["price"]
    )
    assert count == 3
    while database.transact(attached.follow_attached):
        pass
    embed_all(database, model_id)
    (table,) = client.attached_tables()
    assert (table.id_columns, table.uri_column, table.metadata_columns) == (["id"], "photo_url", ["price"])
    assert (table.rows, table.images, table.embedded, table.rows_waiting, table.problem) == (3, 3, 3, 0, None)
    assert len(client.search_images("red shoes", collection="shop", filter={"price": 2})) == 1
    assert client.refresh_table("public.product") == 3
    assert client.detach_table("public.product", delete_images=True) == 3
    assert client.attached_tables() == []
    while database.transact(attached.follow_attached):
        pass
    with database.connection() as connection:
        assert images_of(connection) == {}


def test_the_primary_key_is_found(client: SiglipClient) -> None:
    assert client.attach_table("product", "photo_url") == 3
    (table,) = client.attached_tables()
    assert (table.id_columns, table.collection) == (["id"], "product")


@pytest.mark.parametrize("table", ["", " ", 7, "a\0b"])
def test_what_is_no_name_is_refused(client: SiglipClient, table: str) -> None:
    with pytest.raises(InvalidInputError):
        client.attach_table(table, "photo_url")
    with pytest.raises(InvalidInputError):
        client.attach_table("product", table)
    with pytest.raises(InvalidInputError):
        client.detach_table(table)


def test_errors_say_what_is_wrong(client: SiglipClient) -> None:
    with pytest.raises(InvalidInputError, match="metadata_columns is a list of names"):
        client.attach_table("product", "photo_url", metadata_columns="price")
    with pytest.raises(DatabaseError, match='relation "nothing" does not exist'):
        client.attach_table("nothing", "photo_url")
    with pytest.raises(DatabaseError, match=r"The table public\.product has no column image"):
        client.attach_table("product", "image")
    with pytest.raises(InvalidInputError, match="don't tell its rows apart"):
        client.attach_table("product", "photo_url", id_column=["name", "id"])
    with pytest.raises(NotFoundError, match="is not attached"):
        client.detach_table("product")
    with pytest.raises(NotFoundError, match="is not attached"):
        client.refresh_table("product")
