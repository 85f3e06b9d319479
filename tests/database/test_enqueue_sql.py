"""Images that are queued in plain SQL, as the Python library queues them."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
import pytest

from siglip_ingest.db import Connection, Database, images, models
from tests.database.attached_tables import embed_all, fetch, fetch_one, images_of
from tests.database.helpers import INFO, add_model, states

ENQUEUE = "SELECT e FROM siglip.enqueue_images(%s::text[], 'c') AS e"
URIS = [f"https://a/{n}" for n in (2, 1, 3)]


@pytest.fixture
def connection(database: Database, model_id: int) -> Any:
    with database.session() as session:
        yield session


def enqueue(connection: Connection, uris: list[str], options: str = "") -> list[int]:
    statement = f"SELECT e FROM siglip.enqueue_images(%s::text[], 'c'{options}) AS e"
    return [row[0] for row in fetch(connection, statement, uris)]


def test_images_are_queued_and_their_ids_come_in_order(connection: Connection, model_id: int) -> None:
    ids = enqueue(connection, [*URIS, URIS[0]])
    assert ids[0] == ids[3]
    uris = dict(fetch(connection, "SELECT image_id, uri FROM siglip.images"))
    assert [uris[image_id] for image_id in ids[:3]] == URIS
    assert states(connection, model_id) == {"queued": 3}
    assert enqueue(connection, URIS) == ids[:3]
    assert enqueue(connection, []) == []


def test_workers_are_told(connection: Connection, database: Database, model_id: int) -> None:
    with database.listen("siglip_ingest_items") as listener:
        enqueue(connection, URIS)
        assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == [str(model_id)]


def test_metadata_are_merged_and_keys_kept(connection: Connection) -> None:
    enqueue(connection, URIS, ", keys => '{k2,k1,k3}', metadata => '{\"a\": 1, \"b\": 1}'")
    enqueue(
        connection,
        URIS,
        ", metadata => '{\"b\": 2}', each_metadata => ARRAY['{\"c\": 2}', NULL, '{\"b\": 3}']::jsonb[]",
    )
    assert images_of(connection, "c") == {
        "https://a/2": {"a": 1, "b": 2, "c": 2},
        "https://a/1": {"a": 1, "b": 2},
        "https://a/3": {"a": 1, "b": 3},
    }
    assert fetch(connection, "SELECT key FROM siglip.images ORDER BY uri") == [("k1",), ("k2",), ("k3",)]


def test_what_is_done_stays_so_and_what_failed_is_queued_again(
    connection: Connection, database: Database, model_id: int
) -> None:
    enqueue(connection, URIS)
    assert embed_all(database, model_id) == 3
    connection.execute(
        "UPDATE siglip.ingest_items SET state = 'failed', error_code = 'x', error_message = 'y' WHERE item_id = 1"
    )
    enqueue(connection, URIS)
    assert states(connection, model_id) == {"done": 2, "queued": 1}


def test_a_changed_source_is_queued_again(connection: Connection, database: Database, model_id: int) -> None:
    enqueue(connection, URIS, ", source_versions => '{1,1,1}'")
    embed_all(database, model_id)
    enqueue(connection, URIS, ", source_versions => '{1,2,NULL}'")
    assert states(connection, model_id) == {"done": 2, "queued": 1}
    embed_all(database, model_id)
    enqueue(connection, URIS[:1], ", reads_exif => true")
    assert states(connection, model_id) == {"done": 2, "queued": 1}


def test_the_python_library_and_sql_agree(connection: Connection, database: Database, model_id: int) -> None:
    rows = [images.ImageRow(collection="c", uri=uri) for uri in URIS]
    stored = database.transact(lambda other: images.insert_images(other, rows, model_id))
    embed_all(database, model_id)
    assert enqueue(connection, URIS) == stored.image_ids
    assert states(connection, model_id) == {"done": 3}


def test_images_are_queued_for_all_models_that_are_kept(connection: Connection, model_id: int) -> None:
    with connection.transaction():
        other = models.register_model(connection, "other")
        models.register_model(connection, "unused")
        connection.execute("UPDATE siglip.models SET is_kept = true WHERE model_id = %s", [other])
    enqueue(connection, URIS)
    assert states(connection, model_id) == states(connection, other) == {"queued": 3}
    assert fetch_one(connection, "SELECT count(*) FROM siglip.ingest_items") == 6
    connection.execute("UPDATE siglip.ingest_items SET state = 'failed', error_code = 'x', error_message = 'y'")
    assert fetch_one(connection, "SELECT siglip.retry_failed('c')") == 6
    assert fetch_one(connection, "SELECT siglip.retry_failed('d')") == 0
    assert fetch_one(connection, "SELECT siglip.retry_failed()") == 0


def test_an_image_is_queued_by_its_bytes(connection: Connection, model_id: int) -> None:
    content = b"\x89PNG bytes"
    statement = "SELECT siglip.enqueue_image(%s::bytea, 'c', key => 'k', metadata => '{\"a\": 1}')"
    image_id = fetch_one(connection, statement, content)
    assert fetch_one(connection, statement, content) == image_id
    uri = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert fetch(connection, "SELECT uri, key FROM siglip.images") == [(uri, "k")]
    assert images.load_content(connection, image_id, max_image_bytes=100) == content
    assert states(connection, model_id) == {"queued": 1}
    assert fetch_one(connection, "SELECT siglip.enqueue_image(%s::bytea)", content) != image_id  # another collection


def test_without_a_model_it_says_what_to_do(database: Database) -> None:
    with database.session() as connection:
        for statement in ("enqueue_images('{https://a/1}')", "enqueue_image('x'::bytea)", "retry_failed()"):
            with pytest.raises(
                psycopg.errors.ObjectNotInPrerequisiteState, match="no model that a worker can load is active"
            ):
                connection.execute(f"SELECT siglip.{statement}".encode())
        connection.execute("SELECT siglip.add_external_model('elsewhere', 16)")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            enqueue(connection, URIS)
        assert fetch_one(connection, "SELECT count(*) FROM siglip.images") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("NULL", "uris is NULL"),
        ("'{{https://a/1},{https://a/2}}'", "an array of arrays"),
        ("'{NULL}'", "NULL can't be the address"),
        ("'{photo.jpg}'", "'photo.jpg' can't be the address of an image"),
        ("'{\"\"}'", "'' can't be the address"),
        ("'{https://a/1}'::text[] || ('https://a/' || repeat('x', 3000))", "can't be the address"),
        ("'{https://a/1}', ''", "A collection needs a name"),
        ("'{https://a/1}', NULL", "A collection needs a name"),
        ("'{https://a/1}', keys => '{a,b}'", "There are 1 uris, but 2 keys"),
        ("'{https://a/1}', metadata => '[1]'", "metadata is a JSON array"),
        ("'{https://a/1}', metadata => NULL", "metadata is NULL"),
        ("'{https://a/1}', each_metadata => ARRAY['1']::jsonb[]", "each_metadata has a JSON number"),
    ],
)
def test_bad_arguments_are_refused(connection: Connection, arguments: str, message: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        connection.execute(f"SELECT siglip.enqueue_images({arguments})".encode())
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="there are none"):
        connection.execute("SELECT siglip.enqueue_image('')")


def test_two_that_queue_the_same_images_do_not_deadlock(connection: Connection, database: Database) -> None:
    import threading

    def queue(uris: list[str]) -> None:
        with database.session() as session:
            for _ in range(20):
                enqueue(session, uris)

    uris = [f"https://a/{n}" for n in range(200)]
    threads = [threading.Thread(target=queue, args=[part]) for part in (uris, uris[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert fetch_one(connection, "SELECT count(*) FROM siglip.images") == 200


def test_a_described_model_is_not_needed(database: Database) -> None:
    """A worker describes it when it first loads it; images may be there before."""
    with database.session() as connection:
        with connection.transaction():
            models.activate_model(connection, models.register_model(connection, "to come"))
        assert len(enqueue(connection, URIS)) == 3
        assert add_model(connection, INFO, is_active=False)
