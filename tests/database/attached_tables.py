"""What the tests of attached tables share: a table of products, following, and what became of the rows."""

from __future__ import annotations

from typing import Any

from siglip_ingest.db import Connection, Database
from tests.database.helpers import claim, complete, completed, text_vector

PRODUCTS = """
CREATE TABLE public.product (
    id integer PRIMARY KEY, name text, photo_url text, category text, price numeric(10, 2)
)
"""
ATTACH = (
    "SELECT siglip.attach('public.product', id_column => 'id', uri_column => 'photo_url', collection => 'shop',"
    " metadata_columns => '{category,price}')"
)


def create_products(connection: Connection, count: int = 0) -> None:
    connection.execute(PRODUCTS.encode())
    add_products(connection, 1, count)


def add_products(connection: Connection, first: int, last: int) -> None:
    connection.execute(
        b"INSERT INTO public.product SELECT n, 'product ' || n, 'https://example.org/' || n || '.jpg', 'shoes', n"
        b" FROM generate_series(%s::integer, %s::integer) AS n",
        [first, last],
    )


def follow(connection: Connection, max_rows: int = 2000) -> int:
    """Follow until nothing is left; returns the number of calls that did something."""
    calls = 0
    while fetch_one(connection, "SELECT siglip.follow_attached(%s)", max_rows):
        calls += 1
        assert calls < 1000
    return calls


def fetch_one(connection: Connection, statement: str, *parameters: object) -> Any:
    row: Any = connection.execute(statement.encode(), parameters).fetchone()
    return row[0]


def fetch(connection: Connection, statement: str, *parameters: object) -> list[Any]:
    rows: list[Any] = connection.execute(statement.encode(), parameters).fetchall()
    return rows


def images_of(connection: Connection, collection: str = "shop") -> dict[str, Any]:
    """The metadata of each image of a collection, by its URI."""
    return dict(fetch(connection, "SELECT uri, metadata FROM siglip.images WHERE collection = %s", collection))


def rows_of(connection: Connection) -> list[tuple[str, int, str]]:
    """Each row's images: row_key, place and URI."""
    return fetch(
        connection,
        "SELECT a.row_key, a.place, i.uri FROM siglip.attached_images AS a JOIN siglip.images AS i USING (image_id)"
        " ORDER BY a.row_key, a.place",
    )


def changes(connection: Connection) -> list[list[str] | None]:
    """What is noted and waits."""
    return [row[0] for row in fetch(connection, "SELECT row_keys FROM siglip.attached_changes ORDER BY change_id")]


def embed_all(database: Database, model_id: int) -> int:
    """Embed what is queued, each image as the vector of the text that is its URI; returns how many."""
    with database.connection() as connection:
        chunk = claim(connection, model_id, 100_000)
        results = [completed(item, text_vector(item.uri)) for item in chunk.items]
        return complete(connection, model_id, chunk.lease_token, results)
