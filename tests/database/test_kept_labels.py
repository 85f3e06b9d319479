"""Labels that are kept as rows: written with the vectors of new images, brought up to date after a change."""

from __future__ import annotations

import dataclasses
import json
import threading
from concurrent.futures import ThreadPoolExecutor, TimeoutError as FutureTimeoutError
from typing import Any

import numpy as np
import psycopg
import pytest

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database, images, labels, vectors
from siglip_ingest.db.models import activate_model
from tests.database.helpers import (
    INFO,
    NamedEmbedder,
    add_model,
    claim,
    close_claim,
    completed,
    image_rows,
    index_images,
    make_fake,
    store_embeddings,
    text_vector,
    unit_vectors,
)
from tests.database.test_switching import NEW

VECTORS = unit_vectors(300, seed=11)


@pytest.fixture
def pets(database: Database, model_id: int) -> None:
    """A kept set with three labels; about a third of all images reach each threshold."""
    labeling.create_label_set(database, make_fake, "pets", ["cat", "dog", "fish"])
    with database.connection() as connection:
        connection.execute("UPDATE siglip.labels SET threshold = 0.4")
        connection.execute("SELECT siglip.keep_labels('pets')")
    refresh(database)


def refresh(database: Database, max_contents: int = 2000) -> int:
    """Do all steps that there are; returns how many."""
    steps = 0
    while database.transact(lambda connection: _step(connection, max_contents)):
        steps += 1
    return steps


def _step(connection: Connection, max_contents: int) -> int:
    row: Any = connection.execute("SELECT siglip.refresh_labels(%s)", [max_contents]).fetchone()
    return int(row[0])


def kept(connection: Connection) -> dict[tuple[str, int], float]:
    rows: Any = connection.execute(
        "SELECT label, image_id, score FROM siglip.labeled_images WHERE marked_by IS NULL"
    ).fetchall()
    return {(label, image_id): score for label, image_id, score in rows}


def expected(connection: Connection) -> dict[tuple[str, int], float]:
    """What the view of all scores says of the kept sets."""
    rows: Any = connection.execute(
        "SELECT v.label, v.image_id, v.calibrated_score FROM siglip.label_scores AS v"
        " JOIN siglip.label_sets AS s ON s.name = v.label_set AND s.is_kept"
        " WHERE v.is_accepted AND NOT EXISTS (SELECT FROM siglip.labeled_images AS m WHERE m.marked_by IS NOT NULL"
        "   AND (m.image_id, m.label_set, m.label) = (v.image_id, v.label_set, v.label))"
    ).fetchall()
    return {(label, image_id): score for label, image_id, score in rows}


def assert_current(database: Database) -> None:
    with database.connection() as connection:
        found, wanted = kept(connection), expected(connection)
        assert wanted
        assert found == pytest.approx(wanted, abs=1e-6)


def test_images_that_arrive_have_their_labels_at_once(database: Database, model_id: int, pets: None) -> None:
    index_images(database, model_id, VECTORS)
    assert_current(database)


def test_labels_come_in_the_transaction_that_brings_the_vectors(database: Database, model_id: int, pets: None) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(50), model_id)
        chunk = claim(connection, model_id)
        results = [completed(item, VECTORS[n]) for n, item in enumerate(chunk.items)]
        with connection.transaction(force_rollback=True):
            close_claim(connection, model_id, chunk.lease_token, results)
            assert kept(connection)
        assert not kept(connection)


def test_older_images_get_their_labels_step_by_step(database: Database, model_id: int) -> None:
    index_images(database, model_id, VECTORS)
    labeling.create_label_set(database, make_fake, "pets", ["cat", "dog"])
    with database.connection() as connection:
        connection.execute("SELECT siglip.keep_labels('pets')")
        states: Any = connection.execute("SELECT DISTINCT state, share FROM siglip.label_coverage").fetchall()
        assert states == [("waits for a worker", 0)]
        assert _step(connection, 100) == 2  # both labels are taken up
        assert _step(connection, 100) == 100
        states = connection.execute(
            "SELECT DISTINCT state, round(share::numeric, 2) FROM siglip.label_coverage"
        ).fetchall()
        assert [(state, float(share)) for state, share in states] == [("in progress", pytest.approx(0.34, abs=0.01))]
    assert refresh(database, 100) == 2
    assert_current(database)
    with database.connection() as connection:
        states = connection.execute("SELECT DISTINCT state, share FROM siglip.label_coverage").fetchall()
        assert states == [("current", 1)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("SELECT siglip.set_threshold('pets', 'cat', 0.6)", id="a higher threshold"),
        pytest.param("SELECT siglip.set_threshold('pets', 'cat', 0.1)", id="a lower threshold"),
        pytest.param("SELECT siglip.set_threshold('pets', 'cat', 0)", id="the lowest threshold"),
        pytest.param(
            "INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias)"
            " SELECT label_id, 1, 1, 2, 1 FROM siglip.labels WHERE label = 'dog'",
            id="a calibration",
        ),
        pytest.param("SELECT siglip.remove_label('pets', 'fish')", id="a label less"),
        pytest.param(
            "SELECT siglip.change_label('pets', 'cat', new_label => 'puss', prompts => '{cat}')", id="prompts"
        ),
    ],
)
def test_rows_follow_a_change(database: Database, model_id: int, pets: None, change: str) -> None:
    index_images(database, model_id, VECTORS)
    with database.connection() as connection:
        before = kept(connection)
        connection.execute(change.encode())
    labeling.embed_labels_for_model(database, make_fake(None), model_id)
    refresh(database, 70)
    assert_current(database)
    with database.connection() as connection:
        assert kept(connection) != before


def test_a_label_whose_words_change_keeps_its_rows_until_it_has_a_vector(
    database: Database, model_id: int, pets: None
) -> None:
    index_images(database, model_id, VECTORS)
    with database.connection() as connection:
        before = kept(connection)
        connection.execute("SELECT siglip.change_label('pets', 'cat', prompts => '{lion}')")
    refresh(database)
    with database.connection() as connection:
        assert kept(connection) == before
        state: Any = connection.execute("SELECT state FROM siglip.label_coverage WHERE label = 'cat'").fetchone()
        assert state == ("waits for a worker of the model to embed its prompts",)


def test_coverage_says_that_an_external_model_embeds_no_labels(database: Database, pets: None) -> None:
    with database.connection() as connection:
        connection.execute("SELECT siglip.add_external_model('theirs', 16)")
        connection.execute("SELECT siglip.switch_model('theirs')")
        states: Any = connection.execute("SELECT DISTINCT state, share FROM siglip.label_coverage").fetchall()
    assert states == [("can't be embedded: the active model is external", 0)]


def test_a_set_that_is_no_longer_kept_loses_its_rows_but_not_its_marks(
    database: Database, model_id: int, pets: None
) -> None:
    image_ids = index_images(database, model_id, VECTORS)
    with database.connection() as connection:
        connection.execute("SELECT siglip.mark_images('pets', 'cat', positives => %s)", [image_ids[:2]])
        connection.execute("SELECT siglip.keep_labels('pets', false)")
    refresh(database, 1)
    with database.connection() as connection:
        assert not kept(connection)
        rows: Any = connection.execute("SELECT image_id FROM siglip.image_labels ORDER BY 1").fetchall()
        assert rows == [(image_ids[0],), (image_ids[1],)]
        assert connection.execute("SELECT * FROM siglip.label_progress").fetchall() == []


def test_rows_follow_the_active_model(database: Database, model_id: int, pets: None) -> None:
    image_ids = index_images(database, model_id, VECTORS)
    with database.connection() as connection:
        connection.execute("SELECT siglip.mark_images('pets', 'cat', negatives => %s)", [image_ids[:5]])
        other = add_model(connection, NEW, is_active=False)
        connection.execute(
            "INSERT INTO siglip.image_embeddings (model_id, content_id, embedding)"
            " SELECT %s, content_id + 1, embedding FROM siglip.image_embeddings WHERE content_id < 300",
            [other],
        )
    labeling.embed_labels_for_model(database, NamedEmbedder(NEW), other)
    assert_current(database)
    with database.connection() as connection:
        activate_model(connection, other)
    refresh(database, 50)
    assert_current(database)
    with database.connection() as connection:
        models: Any = connection.execute(
            "SELECT DISTINCT model_id FROM siglip.image_labels WHERE marked_by IS NULL"
        ).fetchall()
        assert models == [(other,)]


def test_vectors_of_a_model_that_is_not_active_change_nothing(database: Database, model_id: int, pets: None) -> None:
    index_images(database, model_id, VECTORS)
    with database.connection() as connection:
        before = kept(connection)
        other = add_model(connection, NEW, is_active=False)
    index_images(database, other, unit_vectors(20, seed=5), collection="more")
    with database.connection() as connection:
        assert kept(connection) == before


def test_a_changed_content_takes_its_labels_along(database: Database, model_id: int, pets: None) -> None:
    cat = text_vector("This is a photo of cat.")
    with database.connection() as connection:
        for version, vector in (("1", cat), ("2", -cat)):
            (image_id,) = images.insert_images(connection, image_rows(1, source_version=version), model_id).image_ids
            chunk = claim(connection, model_id)
            close_claim(connection, model_id, chunk.lease_token, [completed(chunk.items[0], vector, version)])
            assert (("cat", image_id) in kept(connection)) == (version == "1")


def test_a_content_that_another_model_finds_changed_takes_its_labels_along(
    database: Database, model_id: int, pets: None
) -> None:
    """The active model has a vector of it already, and nothing to do."""
    cat = text_vector("This is a photo of cat.")
    (has, lacks) = index_images(database, model_id, [cat, -cat], contents=["cat", "no cat"])
    with database.connection() as connection:
        other = add_model(connection, NEW, is_active=False)
        connection.execute("INSERT INTO siglip.ingest_items (image_id, model_id) VALUES (%s, %s)", [lacks, other])
        chunk = claim(connection, other)
        close_claim(connection, other, chunk.lease_token, [completed(chunk.items[0], cat, "cat")])
        assert {image_id for label, image_id in kept(connection) if label == "cat"} == {has, lacks}
    assert_current(database)


def test_a_second_image_of_a_known_content_has_its_labels(database: Database, model_id: int, pets: None) -> None:
    cat = text_vector("This is a photo of cat.")
    first = index_images(database, model_id, [cat], contents=["same"])
    second = index_images(database, model_id, [cat], contents=["same"], collection="more")
    with database.connection() as connection:
        assert {("cat", first[0]), ("cat", second[0])} <= kept(connection).keys()


def test_imported_vectors_have_their_labels(database: Database, model_id: int, pets: None) -> None:
    records = [
        vectors.Record(collection="default", uri=f"file:///{n}.jpg", key=None, metadata=None, content_hash=None,
                       width=None, height=None, format=None)
        for n in range(100)
    ]  # fmt: skip
    database.transact(
        lambda connection: vectors.store_vectors(connection, model_id, records, VECTORS[:100].astype(np.float16))
    )
    assert_current(database)


def test_a_mark_wins_whatever_comes(database: Database, model_id: int, pets: None) -> None:
    image_ids = index_images(database, model_id, VECTORS[:50])
    with database.connection() as connection:
        has = {image_id for label, image_id in kept(connection) if label == "cat"}
        wrong, missing = min(has), min(set(image_ids) - has)
        connection.execute(
            "SELECT siglip.mark_images('pets', 'cat', positives => %s, negatives => %s)", [[missing], [wrong]]
        )
        for threshold in (0, 1):
            connection.execute("SELECT siglip.set_threshold('pets', 'cat', %s)", [threshold])
            while _step(connection, 2000):
                pass
            rows: Any = connection.execute(
                "SELECT image_id, is_accepted FROM siglip.labeled_images"
                " WHERE label = 'cat' AND marked_by = current_user"
            ).fetchall()
            assert dict(rows) == {missing: True, wrong: False}
        connection.execute("SELECT siglip.set_threshold('pets', 'cat', 0.4)")
        while _step(connection, 2000):
            pass
        connection.execute("SELECT siglip.mark_images('pets', 'cat', unmark => %s)", [[missing, wrong]])
        assert {image_id for label, image_id in kept(connection) if label == "cat"} == has


@pytest.mark.parametrize("change", ["set_threshold('pets', 'cat', 1)", "switch_model('new', force => true)"])
def test_a_mark_has_the_score_of_the_rule_that_counts(
    database: Database, model_id: int, pets: None, change: str
) -> None:
    image_ids = index_images(database, model_id, VECTORS[:50])
    new_id = database.transact(
        lambda connection: add_model(connection, dataclasses.replace(INFO, name="new"), is_active=False)
    )
    vectors_of = dict(zip(image_ids, unit_vectors(50, seed=77), strict=True))
    store_embeddings(database, new_id, vectors_of)
    labeling.embed_labels_for_model(database, make_fake(None), new_id)
    with database.connection() as connection:
        connection.execute(
            "SELECT siglip.mark_images('pets', 'cat', positives => %s, negatives => %s)",
            [image_ids[:25], image_ids[25:]],
        )
        connection.execute(f"SELECT siglip.{change}".encode())
    refresh(database)
    with database.connection() as connection:
        marks: Any = connection.execute(
            "SELECT image_id, score FROM siglip.labeled_images WHERE label = 'cat' ORDER BY 1"
        ).fetchall()
        scores: Any = connection.execute(
            "SELECT image_id, calibrated_score FROM siglip.label_scores WHERE label = 'cat' ORDER BY 1"
        ).fetchall()
    assert len(marks) == 50
    assert dict(marks) == pytest.approx(dict(scores), abs=1e-6)


def test_who_leaves_a_mark_uncommitted_stops_no_image(database: Database, model_id: int, pets: None) -> None:
    image_ids = index_images(database, model_id, VECTORS[:50])
    with database.session() as marker:
        marker.execute("BEGIN")
        marker.execute("SELECT siglip.mark_images('pets', 'cat', positives => %s)", [image_ids])
        with database.connection() as connection:
            connection.execute("SELECT siglip.set_threshold('pets', 'cat', 0.2)")
        refresh(database)  # gives up, and lets go of its lock
        index_images(database, model_id, VECTORS[50:80], contents=range(50, 80), collection="more")
        with database.connection() as connection:
            rows = connection.execute("SELECT state FROM siglip.label_coverage WHERE label = 'cat'").fetchall()
        assert rows == [("in progress",)]
        marker.execute("COMMIT")
    refresh(database)
    assert_current(database)


def test_a_label_that_the_model_can_not_embed_loses_its_rows_but_not_its_marks(
    database: Database, model_id: int, pets: None
) -> None:
    image_ids = index_images(database, model_id, VECTORS[:50])
    with database.connection() as connection:
        connection.execute("SELECT siglip.mark_images('pets', 'cat', positives => %s)", [image_ids[:2]])
        before = kept(connection)
        connection.execute("SELECT siglip.change_label('pets', 'cat', prompts => '{!!!}')")
    refresh(database)
    with database.connection() as connection:
        assert kept(connection) == before  # until the model has looked at the new prompt
        connection.execute(
            "INSERT INTO siglip.label_refusals (model_id, label_id, refusal)"
            " SELECT %s, l.label_id, 'Nothing is left.' FROM siglip.labels AS l WHERE l.label = 'cat'",
            [model_id],
        )
    refresh(database)
    index_images(database, model_id, VECTORS[50:80], contents=range(50, 80), collection="more")
    with database.connection() as connection:
        assert not [label for label, _ in kept(connection) if label == "cat"]
        marks = connection.execute("SELECT image_id FROM siglip.labeled_images WHERE label = 'cat' ORDER BY 1")
        assert marks.fetchall() == [(image_id,) for image_id in image_ids[:2]]
        connection.execute("SELECT siglip.change_label('pets', 'cat', prompts => '{a cat}')")
    labeling.embed_labels_for_model(database, make_fake(None), model_id)
    refresh(database)
    assert_current(database)


def test_listeners_learn_of_new_images_once_they_are_committed(
    database: Database, database_url: str, model_id: int, pets: None
) -> None:
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN siglip_image_labels")
        image_ids = index_images(database, model_id, [text_vector("This is a photo of cat.")] * 600)
        told = [json.loads(message.payload) for message in listener.notifies(timeout=2, stop_after=6)]
    of_cat = [message for message in told if (message["label_set"], message["label"]) == ("pets", "cat")]
    assert [len(message["image_ids"]) for message in of_cat] == [250, 250, 100]
    assert sorted(image_id for message in of_cat for image_id in message["image_ids"]) == image_ids


def test_names_that_no_message_has_room_for_stop_no_image(database: Database, model_id: int) -> None:
    names = ["\x01" * 1900, '"' * 1990]
    for name in names:
        labeling.create_label_set(database, make_fake, name, ["cat"], keep=True)
    refresh(database)
    index_images(database, model_id, [text_vector("This is a photo of cat.")] * 300)
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT label_set, count(*) FROM siglip.labeled_images GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert rows == [(name, 300) for name in names]


def test_listeners_learn_of_images_that_a_person_marks(
    database: Database, database_url: str, model_id: int, pets: None
) -> None:
    image_ids = index_images(database, model_id, -np.stack([text_vector("This is a photo of cat.")] * 3))
    mark = "SELECT siglip.mark_images('pets', 'cat', %s, %s)"
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN siglip_image_labels")
        with database.connection() as connection:
            connection.execute(mark, [image_ids[:2], image_ids[2:]])
            connection.execute(mark, [image_ids, None])  # two of them have it already
            connection.execute("SELECT siglip.keep_labels('pets', false)")
            connection.execute("SELECT siglip.mark_images('pets', 'dog', %s)", [image_ids])
        told = [json.loads(message.payload) for message in listener.notifies(timeout=1)]
    assert [message["image_ids"] for message in told if message["label"] == "cat"] == [image_ids[:2], image_ids[2:]]
    assert not [message for message in told if message["label"] == "dog"]


def test_images_that_arrive_during_a_refresh_are_not_missed(database: Database, model_id: int, pets: None) -> None:
    index_images(database, model_id, VECTORS[:200])
    failures: list[BaseException] = []

    def arrive() -> None:
        try:
            for n in range(10):
                index_images(database, model_id, VECTORS[200 + 10 * n : 210 + 10 * n], collection=f"more {n}")
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    def change() -> None:
        try:
            for n in range(10):
                with database.connection() as connection:
                    connection.execute("SELECT siglip.set_threshold('pets', 'cat', %s)", [0.2 + n / 20])
                refresh(database, 20)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=target) for target in (arrive, change, change)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    refresh(database)
    assert_current(database)


def test_a_change_of_a_rule_waits_for_images_that_are_being_brought(
    database: Database, model_id: int, pets: None
) -> None:
    refreshing = threading.Thread(target=lambda: refresh(database))
    with database.connection() as connection:
        images.insert_images(connection, image_rows(50), model_id)
        chunk = claim(connection, model_id)
        connection.execute("COMMIT")
        connection.execute("BEGIN")
        results = [completed(item, VECTORS[n]) for n, item in enumerate(chunk.items)]
        close_claim(connection, model_id, chunk.lease_token, results)
        with database.connection() as other:
            other.execute("SELECT siglip.set_threshold('pets', 'cat', 0.05)")
        refreshing.start()
        refreshing.join(0.5)
        assert refreshing.is_alive()
    refreshing.join()
    assert_current(database)


def test_two_refreshes_at_once_are_one(database: Database, model_id: int, pets: None) -> None:
    index_images(database, model_id, VECTORS)
    with database.connection() as connection:
        connection.execute("SELECT siglip.set_threshold('pets', 'cat', 0.1)")
    with database.connection() as one:
        assert _step(one, 10)
        with database.connection() as two:
            assert labels.refresh_labels(two) == 0
    assert refresh(database)
    assert_current(database)


def test_deleting_images_during_a_refresh_waits_for_nobody_for_ever(
    database: Database, model_id: int, pets: None
) -> None:
    image_ids = index_images(database, model_id, VECTORS)
    failures: list[BaseException] = []

    def change() -> None:
        try:
            for n in range(20):
                with database.connection() as connection:
                    connection.execute("SELECT siglip.set_threshold('pets', 'cat', %s)", [n / 20])
                refresh(database, 50)
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    for start in range(0, 200, 10):
        selection = images.Selection(image_ids=image_ids[start : start + 10])
        assert images.delete_images(database, selection) == 10
    thread.join()
    assert not failures
    refresh(database)
    assert_current(database)


def bring(connection: Connection, model_id: int, n: int) -> None:
    """Bring 20 images in this transaction."""
    images.insert_images(connection, image_rows(20, collection=str(n)), model_id)
    chunk = claim(connection, model_id)
    results = [completed(item, VECTORS[n]) for n, item in enumerate(chunk.items)]
    close_claim(connection, model_id, chunk.lease_token, results)


@pytest.mark.parametrize("drop", ["SELECT siglip.drop_label_set('pets')", "DELETE FROM siglip.labels"])
def test_labels_that_go_wait_for_images_that_are_being_brought(
    database: Database, model_id: int, pets: None, drop: str
) -> None:
    """And the other way round: images that come while labels go are stored without them."""
    with database.connection() as connection:
        connection.execute("UPDATE siglip.labels SET threshold = 0")
    refresh(database)

    def drop_labels() -> None:
        with database.connection() as other:
            other.execute(drop.encode())
            dropped.set()
            may_commit.wait(10)

    dropped, may_commit = threading.Event(), threading.Event()
    with ThreadPoolExecutor() as pool:
        with database.connection() as connection:
            bring(connection, model_id, 1)
            assert len(kept(connection)) == 60
            dropping = pool.submit(drop_labels)
            assert not dropped.wait(0.5)
        assert dropped.wait(10)
        bringing = pool.submit(lambda: database.transact(lambda connection: bring(connection, model_id, 2)))
        with pytest.raises(FutureTimeoutError):
            bringing.result(0.5)
        may_commit.set()
        dropping.result()
        bringing.result()
    with database.connection() as connection:
        assert not kept(connection)
        done: Any = connection.execute("SELECT count(*) FROM siglip.ingest_items WHERE state = 'done'").fetchone()
        assert done == (40,)


def test_a_set_that_is_replaced_meanwhile_is_in_nobody_s_way(database: Database, model_id: int, pets: None) -> None:
    def replace() -> None:
        with database.connection() as other:
            other.execute("SELECT siglip.create_label_set('pets', '{cat}', replace => true)")

    with ThreadPoolExecutor() as pool, database.connection() as connection:
        connection.execute("SELECT siglip.keep_arrived(%s, '{}')", [model_id])
        replacing = pool.submit(replace)
        with pytest.raises(FutureTimeoutError):
            replacing.result(0.5)
        bring(connection, model_id, 1)  # not a deadlock
        connection.execute("COMMIT")
        replacing.result(10)
    refresh(database)
    assert_current(database)


def test_who_unmarks_waits_for_nobody_who_marks_another_label(database: Database, model_id: int, pets: None) -> None:
    image_ids = index_images(database, model_id, VECTORS[:50])
    with database.connection() as connection:
        image_id = min(n for label, n in kept(connection) if label == "dog")
        connection.execute("SELECT siglip.mark_images('pets', 'cat', negatives => %s)", [image_ids])
    with database.connection() as ada:
        ada.execute("SELECT siglip.mark_images('pets', 'dog', negatives => %s)", [[image_id]])
        with database.connection() as bo:
            bo.execute("SET LOCAL statement_timeout = '5s'")
            row: Any = bo.execute("SELECT siglip.mark_images('pets', 'cat', unmark => %s)", [image_ids]).fetchone()
            assert row == (50,)
    assert_current(database)


def test_nothing_is_kept_where_no_set_asks_for_it(database: Database, model_id: int) -> None:
    labeling.create_label_set(database, make_fake, "pets", ["cat"])
    index_images(database, model_id, VECTORS)
    assert refresh(database) == 0
    with database.connection() as connection:
        assert connection.execute("SELECT * FROM siglip.image_labels").fetchall() == []


@pytest.mark.parametrize("max_contents", [0, -1, 100_001, None])
def test_a_step_of_no_size_is_refused(database: Database, max_contents: int | None) -> None:
    with database.session() as connection, pytest.raises(psycopg.errors.InvalidParameterValue, match="max_contents is"):
        connection.execute("SELECT siglip.refresh_labels(%s)", [max_contents])
