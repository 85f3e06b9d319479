"""Dropping a model frees its space in steps that nobody waits for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg.sql
import pytest

from siglip_ingest import active_model, ingest
from siglip_ingest.db import Database, items, model_changes, models
from siglip_ingest.errors import ConfigurationError, DatabaseError, NotFoundError
from tests.database.helpers import (
    claim,
    complete,
    completed,
    unit_vectors,
)
from tests.database.model_change.helpers import (
    IMAGES,
    NEW,
    add_labels_and_texts,
    answers,
    fetch,
    steps,
    url_of,
)
from tests.programs import wait_until


def test_a_dropped_model_leaves_nothing_behind(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    add_labels_and_texts(database, model_id, new_id)
    before = answers(database, model_id, image_ids[0], "query 1")
    ((said,),) = fetch(database, "SELECT siglip.drop_model('new/model')")
    assert said.startswith("The model new/model is dropped.")
    assert fetch(database, "SELECT siglip.drop_model(%s)", new_id) == [
        ("The model new/model is being dropped already.",)
    ]
    with pytest.raises(NotFoundError, match="is dropped"):
        fetch(database, "SELECT * FROM siglip.similar_images(%s, model_id => %s)", image_ids[0], new_id)
    assert fetch(database, "SELECT state FROM siglip.model_coverage ORDER BY model_id") == [("active",), ("dropped",)]
    ingest.enqueue_images(database, [b"later"])
    done = steps(database)
    assert done[0] == "Took 40 images out of the ledger of new/model."
    assert done[-1].startswith("The model new/model is gone; ")
    assert steps(database) == []
    left: Any = fetch(
        database,
        "SELECT (SELECT count(*) FROM siglip.models),"
        " (SELECT count(*) FROM siglip.image_embeddings WHERE model_id = %s),"
        " (SELECT count(*) FROM siglip.ingest_items WHERE model_id = %s),"
        " (SELECT count(*) FROM siglip.texts WHERE model_id = %s),"
        " (SELECT count(*) FROM pg_class WHERE relname LIKE 'image_embeddings_%%' || %s || '%%'),"
        " to_regproc('siglip.nearest_images_' || %s)",
        *[new_id] * 3,
        str(new_id),
        str(new_id),
    )
    assert left == [(1, 0, 0, 0, 0, None)]
    assert answers(database, model_id, image_ids[0], "query 1") == before


def test_the_active_model_is_not_dropped(database: Database, model_id: int) -> None:
    with pytest.raises(DatabaseError, match=r"is the active one\. Switch to another"):
        fetch(database, "SELECT siglip.drop_model('fake')")


def test_a_procedure_frees_the_space_too(database: Database, new_id: int) -> None:
    fetch(database, "SELECT siglip.drop_model('new/model')")
    with psycopg.connect(url_of(database), autocommit=True) as connection:
        connection.execute("CALL siglip.finish_drops()")
    assert fetch(database, "SELECT name FROM siglip.models") == [("fake",)]


def test_a_model_that_is_being_dropped_is_neither_added_nor_served_nor_switched_to(
    database: Database, model_id: int, new_id: int
) -> None:
    fetch(database, "SELECT siglip.drop_model('new/model')")
    with pytest.raises(DatabaseError, match="being dropped"):
        fetch(database, "SELECT siglip.add_model('new/model')")
    with pytest.raises(DatabaseError, match="is dropped"):
        fetch(database, "SELECT siglip.switch_model('new/model', force => true)")
    with pytest.raises(ConfigurationError, match="being dropped"):
        active_model.enter_model(database, NEW)
    with database.connection() as connection:
        assert [served.model_id for served in model_changes.list_served_models(connection)] == [model_id]
        assert items.queue_missing(connection, new_id) == 0
    steps(database)
    ((again,),) = fetch(database, "SELECT siglip.add_model('new/model')")
    assert again not in {model_id, new_id}


def test_what_a_worker_hands_in_of_a_dropped_model_is_left_out(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        new_id = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, new_id, NEW)
        chunk = claim(connection, new_id)
    fetch(database, "SELECT siglip.drop_model('new/model')")
    with database.connection() as connection:
        assert model_changes.free_dropped(connection) == "Took 40 images out of the ledger of new/model."
    with database.connection() as connection:
        results = [completed(item, unit_vectors(1)[0]) for item in chunk.items]
        assert complete(connection, new_id, chunk.lease_token, results) == 0
    assert steps(database)[-1].startswith("The model new/model is gone")


@pytest.fixture
def searched(database: Database, model_id: int, new_id: int, image_ids: list[int]) -> Iterator[Callable[[], int]]:
    """Four connections that search, and wait for no lock for half a second; gives how often all of them have."""
    add_labels_and_texts(database, model_id, new_id)
    ended = threading.Event()
    counts = [0] * 4

    def search_often(caller: int) -> None:
        with psycopg.connect(url_of(database), autocommit=True) as connection:
            connection.execute("SET lock_timeout = '500ms'")
            while not ended.is_set():
                if caller % 2:
                    found = connection.execute(
                        "SELECT * FROM siglip.similar_images(%s, 5)", [image_ids[caller]]
                    ).fetchall()
                    assert len(found) == 5
                else:
                    rows: Any = connection.execute("SELECT count(*) FROM siglip.label_scores").fetchone()
                    assert rows[0] == 2 * IMAGES
                counts[caller] += 1

    with ThreadPoolExecutor(4) as pool:
        searching = [pool.submit(search_often, caller) for caller in range(4)]
        try:
            yield lambda: min(counts)
        finally:
            ended.set()
        for one in searching:
            one.result(60)


def test_searches_go_on_while_a_model_is_dropped(database: Database, searched: Callable[[], int]) -> None:
    wait_until(lambda: searched() > 3)
    fetch(database, "SELECT siglip.drop_model('new/model')")
    assert steps(database)[-1].startswith("The model new/model is gone")
    before = searched()
    wait_until(lambda: searched() > before + 3)


def test_a_long_statement_only_delays_the_drop(database: Database, new_id: int) -> None:
    fetch(database, "SELECT siglip.drop_model('new/model')")
    with psycopg.connect(url_of(database)) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM siglip.image_embeddings")  # and the transaction stays open
        freeing = pool.submit(steps, database)
        time.sleep(1)
        with psycopg.connect(url_of(database)) as other:
            other.execute("SET lock_timeout = '500ms'")  # nobody waits behind the one that frees
            other.execute("SELECT count(*) FROM siglip.image_embeddings")
        assert not freeing.done()
        reader.rollback()
        assert freeing.result(60)[-1].startswith("The model new/model is gone")
