"""The SQL of the documents is run, statement by statement in their order, on a copy of the example database each."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from siglip_ingest.db import Database
from tests.conftest import Services, clone_database
from tests.database.example_database import answering, fill_example_database
from tests.documents import snippets_of, statements_of

# What a document's readers have, and the example database hasn't.
SHOP = """
CREATE SCHEMA shop; CREATE TABLE shop.product (sku text PRIMARY KEY, price integer);
INSERT INTO shop.product VALUES ('17', 30); UPDATE siglip.images SET key = '17' WHERE image_id = 17
"""
PUBLISHED = "google/siglip2-base-patch16-"
RENAME_MODELS = f"UPDATE siglip.models SET name = '{PUBLISHED}' || (ARRAY['224', '384'])[model_id]"
READY = {"docs/engine.md": SHOP, "docs/model-change.md": RENAME_MODELS}
# What can't be said here as it stands there: the database has 40 images, and its server no files of ours.
SAID_OTHERWISE = {
    "42": "12",
    "pg_read_binary_file('/photos/1.jpg')": r"'\xffd8'::bytea",
}
DOCUMENTS = [
    f"docs/{name}.md"
    for name in (
        "attach",
        "calibration",
        "composing",
        "deleting",
        "engine",
        "hnsw",
        "model-change",
        "nothing-is-lost",
        "recall",
    )
]


@pytest.fixture(scope="module")
def filled(services: Services, _template: str) -> Iterator[str]:
    """Name of a filled example database that nobody is connected to."""
    with clone_database(services, _template) as url:
        with Database(url) as database:
            fill_example_database(database)
        yield url.rpartition("/")[2]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_sql_runs(services: Services, filled: str, document: str) -> None:
    statements = [part for block in snippets_of(document, "sql") for part in statements_of(_say_otherwise(block.text))]
    assert statements
    with (
        clone_database(services, filled) as url,
        Database(url) as database,
        answering(database),
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute(READY.get(document, "SELECT").encode())
        for statement in statements:
            try:
                assert connection.execute(statement.encode()).description
            except psycopg.Error as error:
                pytest.fail(f"{statement}\n{error}")
            if "siglip.attach(" in statement:
                connection.execute("SELECT siglip.follow_attached()")


def _say_otherwise(sql: str) -> str:
    for said, instead in SAID_OTHERWISE.items():
        sql = sql.replace(said, instead)
    return sql
