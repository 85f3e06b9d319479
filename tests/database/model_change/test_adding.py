"""A second model: all images are queued for it, new ones for both, and coverage counts it."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from siglip_ingest import ingest
from siglip_ingest.db import Database, model_changes, models
from siglip_ingest.errors import InvalidInputError
from tests.database.helpers import (
    add_pets,
    claim,
    close_claim,
    completed,
    failure,
    states,
    store_text,
    unit_vectors,
)
from tests.database.model_change.helpers import (
    IMAGES,
    NEW,
    active_id,
    fetch,
    states_of,
    url_of,
)
from tests.programs import wait_until


def test_a_model_that_is_added_gets_all_images_and_from_then_on_the_new_ones(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.listen("siglip_ingest_items") as listener:
        listener.execute("LISTEN siglip_models")
        ((new_id,),) = fetch(database, "SELECT siglip.add_model('google/siglip2-base-patch16-384')")
        heard = {(note.channel, note.payload) for note in listener.notifies(timeout=10, stop_after=2)}
    assert heard == {("siglip_ingest_items", str(new_id)), ("siglip_models", "")}
    assert active_id(database) == model_id
    ingest.enqueue_images(database, [b"one", b"two"])
    with database.connection() as connection:
        assert states(connection, new_id) == {"queued": IMAGES + 2}
        assert states(connection, model_id) == {"done": IMAGES, "queued": 2}


def test_adding_again_queues_what_is_missing_and_nothing_twice(
    database: Database, new_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        connection.execute(
            "DELETE FROM siglip.ingest_items WHERE model_id = %s AND image_id = %s", [new_id, image_ids[0]]
        )
        assert model_changes.add_model(connection, NEW.name) == new_id
        assert states(connection, new_id) == {"done": IMAGES - 1, "queued": 1}


@pytest.mark.parametrize("name", ["", " ", "siglip", "a/b/c", "./folder", "a b/c", "a/..", "https://x/y", "x/y@", None])
def test_a_name_that_no_checkpoint_has_is_refused(database: Database, model_id: int, name: str | None) -> None:
    with pytest.raises(InvalidInputError, match="names no checkpoint"):
        fetch(database, "SELECT siglip.add_model(%s)", name)
    assert fetch(database, "SELECT count(*) FROM siglip.models") == [(1,)]


@pytest.mark.parametrize("name", ["demo", "/data/my model", "google/siglip2-base-patch16-224@main"])
def test_the_names_of_checkpoints_are_taken(database: Database, model_id: int, name: str) -> None:
    ((added,),) = fetch(database, "SELECT siglip.add_model(%s)", name)
    assert fetch(database, "SELECT siglip.find_model(%s)", name) == [(added,)]
    assert fetch(database, "SELECT siglip.find_model(%s)", str(added)) == [(added,)]


def test_an_external_model_is_not_added(database: Database, model_id: int) -> None:
    fetch(database, "SELECT siglip.add_external_model('theirs', 16)")
    with pytest.raises(InvalidInputError, match="external"):
        fetch(database, "SELECT siglip.add_model('theirs')")


def test_no_image_that_comes_while_a_model_is_added_is_left_out(database: Database, model_id: int) -> None:
    barrier = threading.Barrier(4)

    def enqueue(caller: int) -> None:
        barrier.wait(30)
        for n in range(30):
            ingest.enqueue_images(database, [f"caller {caller}, image {n}".encode()])

    def add() -> int:
        barrier.wait(30)
        time.sleep(0.05)
        return int(fetch(database, "SELECT siglip.add_model('new/model')")[0][0])

    with ThreadPoolExecutor(4) as pool:
        enqueueing = [pool.submit(enqueue, caller) for caller in range(3)]
        new_id = pool.submit(add).result(60)
        for done in enqueueing:
            done.result(60)
    with database.connection() as connection:
        assert states(connection, new_id) == states(connection, model_id) == {"queued": 90}


def test_adding_again_does_not_stand_in_the_way_of_who_enqueues(
    database: Database, model_id: int, image_ids: list[int], new_id: int
) -> None:
    fetch(database, "DELETE FROM siglip.ingest_items WHERE model_id = %s RETURNING 1", new_id)
    ((uri,),) = fetch(database, "SELECT uri FROM siglip.images WHERE image_id = %s", image_ids[0])
    with psycopg.connect(url_of(database)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT siglip.enqueue_images('{file:///new.png}')")
        adding = pool.submit(fetch, database, "SELECT siglip.add_model(%s)", NEW.name)
        wait_until(lambda: fetch(database, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") != [])
        other.execute("SELECT siglip.enqueue_images(%s)", [[uri]])
        other.commit()
        assert adding.result(30) == [(new_id,)]
    assert states_of(database, new_id) == {"queued": IMAGES + 1}


def test_an_image_that_is_deleted_meanwhile_is_not_queued(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with psycopg.connect(url_of(database)) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT siglip.delete_images(image_ids => %s::bigint[])", [image_ids[:1]])
        adding = pool.submit(fetch, database, "SELECT siglip.add_model(%s)", NEW.name)
        wait_until(lambda: fetch(database, "SELECT 1 FROM pg_locks WHERE NOT granted") != [])
        other.commit()
        ((new_id,),) = adding.result(30)
    assert states_of(database, new_id) == {"queued": IMAGES - 1}


def test_two_callers_add_one_model(database: Database, model_id: int, image_ids: list[int]) -> None:
    with ThreadPoolExecutor(4) as pool:
        added = set(pool.map(lambda _: fetch(database, "SELECT siglip.add_model('new/model')")[0][0], range(8)))
    assert len(added) == 1


def test_coverage_counts_what_each_model_has(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        new_id = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, new_id, NEW)
        chunk = claim(connection, new_id, 10)
        results = [completed(item, unit_vectors(1, seed=n)[0]) for n, item in enumerate(chunk.items[:6])]
        close_claim(connection, new_id, chunk.lease_token, results, [failure(chunk.items[6], "not_found", "Gone.")])
        connection.execute(
            "DELETE FROM siglip.ingest_items WHERE model_id = %s AND image_id = %s", [new_id, image_ids[-1]]
        )
        add_pets(connection)
        store_text(connection, model_id, "a sunset")
        active, added = model_changes.list_coverage(connection)
        (old, collection) = model_changes.list_collection_coverage(connection)
    assert (active.state, active.embedded, active.queued, active.share, active.texts) == ("active", IMAGES, 0, 1.0, 1)
    assert (added.state, added.images, added.embedded, added.queued, added.failed) == ("kept", IMAGES, 6, IMAGES - 8, 1)
    assert (added.not_queued, added.labels_missing, added.share, added.workers) == (1, 1, 6 / IMAGES, 1)
    assert added.per_s is not None
    assert added.per_s > 0
    assert added.remaining_s == pytest.approx((IMAGES - 8) / added.per_s, rel=1e-3)
    assert (old.model_id, old.embedded, collection.model_id, collection.embedded) == (model_id, IMAGES, new_id, 6)
    assert (collection.collection, collection.failed, collection.not_queued) == ("default", 1, 1)


def test_coverage_of_an_empty_database_and_of_an_external_model(database: Database, model_id: int) -> None:
    fetch(database, "SELECT siglip.add_external_model('theirs', 16)")
    with database.connection() as connection:
        first, external = model_changes.list_coverage(connection)
    assert (first.images, first.share, external.state, external.embedded) == (0, None, "unused", 0)
