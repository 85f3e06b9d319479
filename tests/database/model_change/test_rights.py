"""What a role that only reads may do in a model change, and several callers at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg.sql
import pytest

from siglip_ingest.db import Database, items
from tests.database.model_change.helpers import (
    active_id,
    add_labels_and_texts,
    fetch,
    steps,
    url_of,
)


@pytest.fixture
def reader(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A session of a role that may only read."""
    role = psycopg.sql.Identifier(f"siglip_reader_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(url_of(database), autocommit=True) as owner:
        owner.execute(psycopg.sql.SQL("CREATE ROLE {}").format(role))
        owner.execute(psycopg.sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(role))
        owner.execute(psycopg.sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(role))
        with psycopg.connect(url_of(database), autocommit=True) as session:
            session.execute(psycopg.sql.SQL("SET ROLE {}").format(role))
            yield session
        owner.execute(psycopg.sql.SQL("DROP OWNED BY {}").format(role))
        owner.execute(psycopg.sql.SQL("DROP ROLE {}").format(role))


def test_who_may_only_read_can_compare_and_change_nothing(
    database: Database, model_id: int, new_id: int, reader: psycopg.Connection[Any]
) -> None:
    assert len(reader.execute("SELECT * FROM siglip.compare_models(%s, %s)", [model_id, new_id]).fetchall()) == 10
    assert len(reader.execute("SELECT * FROM siglip.model_coverage").fetchall()) == 2
    for call in ("add_model('new/model')", "switch_model('new/model')", "drop_model('new/model')"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT siglip.{call}".encode())
    assert active_id(database) == model_id


def test_coverage_counts_the_images_that_the_caller_may_see(
    database: Database, model_id: int, new_id: int, reader: psycopg.Connection[Any]
) -> None:
    fetch(database, "ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY", fetches=False)
    fetch(database, "CREATE POLICY few ON siglip.images USING (image_id <= 5)", fetches=False)
    rows = reader.execute("SELECT images, embedded, share FROM siglip.model_coverage").fetchall()
    assert rows == [(5, 5, 1.0)] * 2
    rows = reader.execute("SELECT images, embedded FROM siglip.collection_coverage").fetchall()
    assert rows == [(5, 5)] * 2


@pytest.mark.parametrize(
    "call", ["count_labels('pets')", "label_histogram('pets')", "images_with_label('pets', 'cat')"]
)
def test_labels_are_counted_as_the_first_statement_of_a_session(
    database: Database, model_id: int, image_ids: list[int], call: str
) -> None:
    add_labels_and_texts(database, model_id)
    with psycopg.connect(url_of(database)) as connection:
        connection.execute(f"SELECT * FROM siglip.{call}".encode())


def test_adding_switching_and_dropping_at_once_end_in_order(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    barrier = threading.Barrier(6)

    def change(caller: int) -> None:
        name = f"new/model-{caller % 2}"
        barrier.wait(30)
        for n in range(12):
            call = ["add_model(%s)", "switch_model(%s, force => true)", "drop_model(%s)"][(n + caller) % 3]
            try:
                with psycopg.connect(url_of(database), autocommit=True) as connection:
                    connection.execute(f"SELECT siglip.{call}".encode(), [name])
                    connection.execute("SELECT siglip.free_dropped()")
            except (psycopg.errors.ObjectInUse, psycopg.errors.NoDataFound):
                continue  # active, being dropped, or not there: said in a sentence, and nothing has changed

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(change, caller) for caller in range(6)]:
            done.result(120)
    steps(database)
    assert fetch(database, "SELECT count(*) FROM siglip.models WHERE is_active") == [(1,)]
    assert fetch(database, "SELECT count(*) FROM siglip.model_drops") == [(0,)]
    with database.connection() as connection:
        assert items.queue_missing(connection, active_id(database)) == 0
