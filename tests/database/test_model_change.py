"""A model is added beside the active one, compared, switched to, and dropped, while others go on."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import psycopg.sql
import pytest

from siglip_ingest import active_model, ingest, labeling, search
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import Database, items, labels, model_changes, models
from siglip_ingest.db.models import ModelKey
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import ConfigurationError, DatabaseError, InvalidInputError, NotFoundError
from siglip_ingest.services.model_workers import ServedModels
from tests.database.helpers import (
    INFO,
    FakeEmbedder,
    add_pets,
    claim,
    close_claim,
    complete,
    completed,
    failure,
    index_images,
    states,
    store_text,
    text_vector,
    unit_vectors,
)
from tests.programs import wait_until

NEW = dataclasses.replace(INFO, name="new/model")  # of the same dimension
IMAGES = 40


def fetch(database: Database, statement: str, *parameters: Any, fetches: bool = True) -> list[tuple[Any, ...]]:
    with database.connection() as connection:
        if not fetches:
            connection.execute(statement.encode())
            return []
        return connection.execute(statement, parameters).fetchall()  # type: ignore[call-overload, no-any-return]


def embed_queued(database: Database, model_id: int, seed: int = 2) -> int:
    """Do what a worker of a model does: embed what is queued; returns how many images that were."""
    with database.connection() as connection:
        queued = states(connection, model_id).get("queued", 0)
        if not queued:
            return 0
        chunk = claim(connection, model_id, 100_000)
        vectors = unit_vectors(len(chunk.items), seed=seed)
        return complete(
            connection, model_id, chunk.lease_token, [completed(item, vectors[n]) for n, item in enumerate(chunk.items)]
        )


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, unit_vectors(IMAGES, seed=1))


@pytest.fixture
def new_id(database: Database, model_id: int, image_ids: list[int]) -> int:
    """A second model, kept, described, with a vector of every image."""
    with database.connection() as connection:
        new_id = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, new_id, NEW)
    assert embed_queued(database, new_id) == IMAGES
    return new_id


def url_of(database: Database) -> str:
    """The URL of a database, for sessions of one's own."""
    with database.connection() as connection:
        return psycopg.conninfo.make_conninfo(connection.info.dsn, password=connection.info.password)


def active_id(database: Database) -> int:
    ((found,),) = fetch(database, "SELECT model_id FROM siglip.models WHERE is_active")
    return int(found)


# Adding


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


def test_two_callers_add_one_model(database: Database, model_id: int, image_ids: list[int]) -> None:
    with ThreadPoolExecutor(4) as pool:
        added = set(pool.map(lambda _: fetch(database, "SELECT siglip.add_model('new/model')")[0][0], range(8)))
    assert len(added) == 1


# Coverage


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


# Switching


def test_a_switch_and_back_at_once_with_new_images_under_both(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    ((said,),) = fetch(database, "SELECT siglip.switch_model('new/model')")
    assert said == "The active model is new/model now."
    assert active_id(database) == new_id
    ingest.enqueue_images(database, [b"later"])
    assert embed_queued(database, model_id) == embed_queued(database, new_id) == 1
    assert fetch(database, "SELECT siglip.switch_model(%s)", model_id) == [("The active model is fake now.",)]
    assert fetch(database, "SELECT siglip.switch_model('fake')") == [("fake is the active model already.",)]
    assert fetch(database, "SELECT model_id FROM siglip.kept_models() AS k (model_id)") == [(model_id,), (new_id,)]


def test_a_model_that_nobody_has_loaded_is_not_switched_to(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    fetch(database, "SELECT siglip.add_model('new/model')")
    with pytest.raises(NotFoundError, match="has not been loaded by any worker"):
        fetch(database, "SELECT siglip.switch_model('new/model')")
    assert active_id(database) == model_id


def test_an_incomplete_model_is_refused_with_what_it_lacks(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        new_id = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, new_id, NEW)
        chunk = claim(connection, new_id, 3)
        result, failed = completed(chunk.items[0], unit_vectors(1)[0]), failure(chunk.items[1], "not_found", "Gone.")
        close_claim(connection, new_id, chunk.lease_token, [result], [failed])
        label_ids = add_pets(connection)
        labels.insert_label_embeddings(connection, model_id, label_ids, unit_vectors(1))
    lacks = r"1 of the 40 images .* \(38 queued, 1 failed\); 1 labels have no vector under it yet, 'cat'"
    with pytest.raises(DatabaseError, match=lacks):
        fetch(database, "SELECT siglip.switch_model('new/model')")
    assert active_id(database) == model_id
    fetch(database, "SELECT siglip.switch_model('new/model', force => true)")
    assert active_id(database) == new_id


def test_the_client_goes_the_whole_way(database: Database, model_id: int, image_ids: list[int]) -> None:
    with SiglipClient(database_url=url_of(database)) as client:
        added = client.add_model("new/model").model_id
        with database.connection() as connection:
            models.describe_model(connection, added, NEW)
        with pytest.raises(DatabaseError, match=r"0 of the 40 images .*\(40 queued\)"):
            client.switch_model("new/model")
        embed_queued(database, added)
        assert [row.share for row in client.model_coverage()] == [1, 1]
        assert [row.collection for row in client.collection_coverage()] == ["default"] * 2
        assert client.compare_models("fake", added)[0].value_b == IMAGES
        client.switch_model("new/model")
        assert client.model.model_id == added
        client.switch_model(model_id)
        assert client.model.model_id == model_id
        with pytest.raises(DatabaseError, match="active one"):
            client.drop_model("fake")
        said: list[str] = []
        client.drop_model("new/model", on_step=said.append)
        assert said[-1].startswith("The model new/model is gone")
        assert [row.model for row in client.model_coverage()] == ["fake"]


def test_a_switch_waits_for_what_comes_in_time(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        new_id = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, new_id, NEW)
    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(fetch, database, "SELECT siglip.switch_model('new/model', timeout_s => 30)")
        time.sleep(0.2)
        assert not switching.done()
        embed_queued(database, new_id)
        switching.result(30)
    assert active_id(database) == new_id


def test_what_the_old_model_lacks_too_is_no_reason_to_stay(database: Database, model_id: int, new_id: int) -> None:
    with database.connection() as connection:
        add_pets(connection)
        connection.execute("INSERT INTO siglip.images (uri) VALUES ('file:///new')")
    assert fetch(database, "SELECT siglip.switch_model('new/model')") == [
        ("The active model is new/model now. 1 images are queued under it.",)
    ]


@pytest.mark.parametrize(("keep_old", "kept"), [("true", True), ("false", False), ("NULL", True)])
def test_the_old_model_is_kept_or_not(
    database: Database, model_id: int, new_id: int, keep_old: str, kept: bool
) -> None:
    fetch(database, "UPDATE siglip.models SET is_kept = true RETURNING 1")
    fetch(database, f"SELECT siglip.switch_model('new/model', keep_old => {keep_old})")
    assert fetch(database, "SELECT is_kept FROM siglip.models WHERE model_id = %s", model_id) == [(kept,)]


@pytest.mark.parametrize("model", ["99", "NULL::integer", "'no such'", "NULL::text"])
@pytest.mark.parametrize("verb", ["switch_model", "drop_model"])
def test_a_model_that_is_not_there_is_none(database: Database, model_id: int, verb: str, model: str) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        fetch(database, f"SELECT siglip.{verb}({model})")
    assert active_id(database) == model_id


def test_calibrations_follow_in_the_same_transaction(database: Database, model_id: int, new_id: int) -> None:
    if fetch(database, "SELECT to_regprocedure('siglip.recalibrate(integer)') IS NOT NULL") == [(True,)]:
        pytest.skip("there is one")
    with database.connection() as connection:
        connection.execute("CREATE TABLE siglip.seen (model_id integer)")
        connection.execute(
            "CREATE FUNCTION siglip.recalibrate(model_id integer) RETURNS void LANGUAGE sql AS"
            " 'INSERT INTO siglip.seen VALUES (model_id)'"
        )
    fetch(database, "SELECT siglip.switch_model('new/model')")
    assert fetch(database, "SELECT model_id FROM siglip.seen") == [(new_id,)]


class NamedEmbedder(FakeEmbedder):
    """Two models give one text different vectors."""

    def embed_texts(self, texts: Any) -> Any:
        return super().embed_texts([f"{self.info.name}: {text}" for text in texts])

    def embed_images(self, images: Any) -> Any:
        return self.embed_texts([str(image) for image in images])


def make_named(model: ModelKey) -> NamedEmbedder:
    return NamedEmbedder(dataclasses.replace(INFO, name=model.name, revision=model.revision))


def answers(database: Database, model_id: int, image_id: int, query: str) -> dict[str, Any]:
    """What each kind of search gives under one model."""
    asked: dict[str, tuple[str, tuple[Any, ...]]] = {
        "text": ("SELECT image_id FROM siglip.search_images(%s, 5, model_id => %s)", (query, model_id)),
        "image": ("SELECT image_id FROM siglip.similar_images(%s, 5, model_id => %s)", (image_id, model_id)),
        "label": (
            "SELECT image_id FROM siglip.images_with_label('pets', 'cat', 0, 5, model_id => %s)",
            (model_id,),
        ),
        "counts": ("SELECT images FROM siglip.count_labels('pets', 0.2, model_id => %s)", (model_id,)),
    }
    return {name: fetch(database, statement, *parameters) for name, (statement, parameters) in asked.items()}


def add_labels_and_texts(database: Database, *model_ids: int) -> None:
    labeling.create_label_set(database, make_named, "pets", ["cat", "dog"])
    for model_id in model_ids:
        with database.connection() as connection:
            info = models.described_model(connection, models.get_model(connection, model_id).name)[1]
            for n in range(10):
                connection.execute(
                    "INSERT INTO siglip.texts (model_id, query, embedding) VALUES (%s, %s, %s::real[]::public.halfvec)",
                    [model_id, f"query {n}", text_vector(f"{info.name}: query {n}").tolist()],
                )
        labeling.embed_labels_for_model(database, NamedEmbedder(info), model_id)


def test_eight_searchers_see_no_error_and_no_mixture_while_models_are_switched(  # noqa: C901  # six kinds of searches
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    add_labels_and_texts(database, model_id, new_id)
    by_model = [
        {(n, i): answers(database, m, image_ids[i], f"query {n}") for n in range(3) for i in range(3)}
        for m in (model_id, new_id)
    ]
    scores = [
        fetch(
            database,
            "SELECT round(siglip.score(siglip.similarity(e.embedding OPERATOR(public.<#>) v.embedding), %s)::numeric,"
            " 5) FROM siglip.image_embeddings AS e JOIN siglip.label_embeddings AS v USING (model_id)"
            " JOIN siglip.images AS i USING (content_id) WHERE e.model_id = %s AND i.image_id = %s ORDER BY v.label_id",
            *(m, m, image_ids[0]),
        )
        for m in (model_id, new_id)
    ]
    ended, started = threading.Event(), threading.Semaphore(0)

    def search_often(caller: int) -> list[int]:
        choice = random.Random(caller)
        seen = []
        try:
            with psycopg.connect(url_of(database), autocommit=True) as connection:
                connection.execute("SELECT * FROM siglip.similar_images(%s, 5)", [image_ids[0]])
                for _ in range(120):
                    n, i = choice.randrange(3), choice.randrange(3)
                    kind = choice.choice(["text", "image", "label", "counts", "scores", "python"])
                    expected: list[Any] = [found[n, i].get(kind) for found in by_model]
                    if kind == "text":
                        got = connection.execute("SELECT image_id FROM siglip.search_images(%s, 5)", [f"query {n}"])
                    elif kind == "image":
                        got = connection.execute("SELECT image_id FROM siglip.similar_images(%s, 5)", [image_ids[i]])
                    elif kind == "label":
                        got = connection.execute("SELECT image_id FROM siglip.images_with_label('pets', 'cat', 0, 5)")
                    elif kind == "counts":
                        got = connection.execute("SELECT images FROM siglip.count_labels('pets', 0.2)")
                    elif kind == "scores":
                        got, expected = (
                            connection.execute(
                                "SELECT round(s.score::numeric, 5) FROM siglip.label_scores AS s"
                                " JOIN siglip.labels AS l USING (label) WHERE s.image_id = %s ORDER BY l.label_id",
                                [image_ids[0]],
                            ),
                            list(scores),
                        )
                    if kind == "python":
                        found = search.search_by_text(database, make_named, f"query {n}", SearchOptions(limit=5))
                        rows, expected = [(m.image_id,) for m in found], [e[n, i]["text"] for e in by_model]
                    else:
                        rows = got.fetchall()
                    assert rows in expected, (kind, rows, expected)
                    seen.append(expected.index(rows))
        finally:
            started.release()
        return seen

    def switch_often() -> int:
        count = 0
        while not ended.is_set():
            fetch(database, "SELECT siglip.switch_model(%s)", [new_id, model_id][count % 2])
            count += 1
        return count

    with ThreadPoolExecutor(9) as pool:
        switching = pool.submit(switch_often)
        searching = [pool.submit(search_often, caller) for caller in range(8)]
        for _ in searching:
            started.acquire()
        ended.set()
        assert switching.result(60) > 10
        seen = [model for one in searching for model in one.result(60)]
    assert {0, 1} == set(seen)


# Comparing


def compare(database: Database, statement: str = "SELECT * FROM siglip.compare_models('fake', 'new/model')") -> Any:
    return {measure: tuple(values) for measure, *values in fetch(database, statement)}


def test_models_are_compared_on_queries_marks_and_labels(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    add_labels_and_texts(database, model_id, new_id)
    fetch(
        database,
        "INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, marked_by)"
        " SELECT l.label_id, i.image_id, i.image_id <= 3, 'me' FROM siglip.labels AS l, siglip.images AS i"
        " WHERE l.label = 'cat' AND i.image_id <= 6 RETURNING 1",
    )
    found = compare(database)
    assert found["images embedded"][:3] == (IMAGES, IMAGES, IMAGES)
    best = "SELECT image_id FROM siglip.search_images(%s, 10, model_id => %s)"
    both = [[set(fetch(database, best, f"query {n}", m)) for m in (model_id, new_id)] for n in range(10)]
    overlap = np.mean([len(a & b) / 10 for a, b in both])
    assert found["overlap@10 of queries"][:3] == (pytest.approx(overlap), pytest.approx(overlap), 10)
    for position, (info, seed) in enumerate([(INFO, 1), (NEW, 2)]):
        query = text_vector(f"{info.name}: This is a photo of cat.")
        order = np.argsort(-(unit_vectors(IMAGES, seed=seed) @ query)).tolist()
        places = sorted(order.index(n) + 1 for n in range(3))
        marked = [n < 3 for n in order if n < 6]
        precision = np.mean([sum(marked[: n + 1]) / (n + 1) for n in range(6) if marked[n]])
        assert found["rank of marked images"][position] == places[1]
        assert found["recall@10 of marked images"][position] == pytest.approx(sum(place <= 10 for place in places) / 3)
        assert found["average precision of marks"][position] == pytest.approx(precision)
    assert found["rank of marked images"][2] == 3
    assert found["average precision of marks"][2] == 1
    decided = [
        fetch(
            database,
            "SELECT images FROM siglip.count_labels('pets', model_id => %s) ORDER BY label",
            m,
        )
        for m in (model_id, new_id)
    ]
    for position in (0, 1):
        assert found["labels of an image"][position] == pytest.approx(sum(n for (n,) in decided[position]) / IMAGES)
    assert found["label agreement"][2] == 2 * IMAGES
    assert -1 <= found["label agreement, kappa"][0] < found["label agreement"][0] <= 1


def test_a_model_agrees_with_its_twin(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        twin = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, twin, NEW)
    assert embed_queued(database, twin, seed=1) == IMAGES
    labeling.create_label_set(database, lambda _: FakeEmbedder(), "pets", ["cat", "dog"])
    labeling.embed_labels_for_model(database, FakeEmbedder(NEW), twin)
    with database.connection() as connection:
        store_text(connection, model_id, "a sunset")
        store_text(connection, twin, "a sunset", NEW)
    found = compare(database)
    for measure in ("overlap@10 of queries", "same best result", "label agreement"):
        assert found[measure][:2] == (1, 1), measure


def test_where_there_is_nothing_to_compare_it_says_so(database: Database, model_id: int, new_id: int) -> None:
    found = compare(database)
    assert found["overlap@10 of queries"][:3] == (None, None, 0)
    assert "Nobody has asked fake anything yet." in found["overlap@10 of queries"][3]
    assert "marked" in found["recall@10 of marked images"][3]
    assert found["label agreement"][3] == "No label has vectors under both."
    with database.connection() as connection:
        store_text(connection, model_id, "a sunset")
    assert "1 queries have no vector under new/model" in compare(database)["overlap@10 of queries"][3]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        pytest.param("1, 1", InvalidInputError, "with itself", id="itself"),
        pytest.param("1, 2, k => 0", InvalidInputError, "k is 0", id="k"),
        pytest.param("1, 2, k => NULL", InvalidInputError, "k is NULL", id="null"),
        pytest.param("1, 2, max_queries => 0", InvalidInputError, "max_queries is 0", id="queries"),
        pytest.param("1, 2, max_images => -1", InvalidInputError, "max_images is -1", id="images"),
        pytest.param("1, 99", NotFoundError, "no model 99", id="unknown"),
        pytest.param("1, NULL::integer", NotFoundError, "no model", id="no model"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    database: Database, model_id: int, new_id: int, arguments: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fetch(database, f"SELECT * FROM siglip.compare_models({arguments})")


def test_comparing_with_an_external_model_leaves_labels_out(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    fetch(database, "SELECT siglip.add_external_model('theirs', 16)")
    found = compare(database, "SELECT * FROM siglip.compare_models('fake', 'theirs')")
    assert "label agreement" not in found
    assert found["images embedded"][:2] == (IMAGES, 0)


# Dropping


def steps(database: Database) -> list[str]:
    said: list[str] = []
    active_model.free_dropped(database, said.append)
    return said


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


def test_a_model_that_is_not_kept_is_served_until_its_last_image_is_done(
    database: Database, model_id: int, new_id: int
) -> None:
    def served() -> list[int]:
        with database.connection() as connection:
            return [model.model_id for model in model_changes.list_served_models(connection)]

    with database.connection() as connection:
        model_changes.keep_model(connection, new_id, is_kept=False)
    assert served() == [model_id]
    fetch(database, "UPDATE siglip.ingest_items SET state = 'queued' WHERE model_id = %s RETURNING 1", new_id)
    assert served() == [model_id, new_id]
    with database.connection() as connection:
        claim(connection, new_id, 100_000)
    assert states_of(database, new_id) == {"claimed": IMAGES}
    assert served() == [model_id, new_id]


def states_of(database: Database, model_id: int) -> dict[str, int]:
    with database.connection() as connection:
        return states(connection, model_id)


def test_a_kept_model_is_not_continued_with_other_files(database: Database, model_id: int, new_id: int) -> None:
    other = dataclasses.replace(NEW, revision="sha256:2")
    with pytest.raises(ConfigurationError, match=f"at revision {NEW.revision}, but .* is revision sha256:2"):
        active_model.enter_model(database, other)
    assert active_model.enter_model(database, NEW) == new_id
    with database.connection() as connection:
        model_changes.keep_model(connection, new_id, is_kept=False)
    assert active_model.enter_model(database, other) not in {model_id, new_id}


def test_who_asks_for_the_models_to_serve_waits_for_no_lock(database: Database, model_id: int) -> None:
    models_of = ServedModels(url_of(database))
    assert models_of() == [INFO.name]
    with database.connection() as connection, connection.transaction():
        connection.execute("LOCK TABLE siglip.models IN ACCESS EXCLUSIVE MODE")
        began = time.monotonic()
        with pytest.raises(DatabaseError, match="statement timeout"):
            models_of()
        assert time.monotonic() - began < 10
    assert models_of() == [INFO.name]
    models_of.close()


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
def searchers(database: Database, image_ids: list[int]) -> Iterator[Callable[[], list[float]]]:
    """Four connections that search until the fixture is called, which returns the seconds of each search."""
    ended = threading.Event()

    def search_often(caller: int) -> list[float]:
        took = []
        with psycopg.connect(url_of(database), autocommit=True) as connection:
            while not ended.is_set():
                began = time.monotonic()
                if caller % 2:
                    found = connection.execute(
                        "SELECT * FROM siglip.similar_images(%s, 5)", [image_ids[caller]]
                    ).fetchall()
                    assert len(found) == 5
                else:
                    rows: Any = connection.execute("SELECT count(*) FROM siglip.label_scores").fetchone()
                    assert rows[0] == 2 * IMAGES
                took.append(time.monotonic() - began)
        return took

    with ThreadPoolExecutor(4) as pool:
        searching = [pool.submit(search_often, caller) for caller in range(4)]

        def stop() -> list[float]:
            ended.set()
            return [seconds for one in searching for seconds in one.result(60)]

        yield stop
        ended.set()


def test_searches_go_on_while_a_model_is_dropped(
    database: Database, model_id: int, new_id: int, request: pytest.FixtureRequest
) -> None:
    add_labels_and_texts(database, model_id, new_id)
    stop = request.getfixturevalue("searchers")
    time.sleep(0.3)
    fetch(database, "SELECT siglip.drop_model('new/model')")
    assert steps(database)[-1].startswith("The model new/model is gone")
    took = stop()
    assert len(took) > 50
    assert max(took) < 1.0


def test_a_long_statement_only_delays_the_drop(database: Database, new_id: int) -> None:
    fetch(database, "SELECT siglip.drop_model('new/model')")
    with psycopg.connect(url_of(database)) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM siglip.image_embeddings")  # and the transaction stays open
        freeing = pool.submit(steps, database)
        time.sleep(1)
        began = time.monotonic()
        fetch(database, "SELECT count(*) FROM siglip.image_embeddings")
        assert time.monotonic() - began < 1
        assert not freeing.done()
        reader.rollback()
        assert freeing.result(60)[-1].startswith("The model new/model is gone")


# Rights


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
