"""Switching to a model that is ready, and back, and what searches see meanwhile."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import psycopg.sql
import pytest

from siglip_ingest import ingest, search
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import Database, labels, model_changes, models
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import DatabaseError, NotFoundError
from tests.database.helpers import (
    add_pets,
    claim,
    close_claim,
    completed,
    failure,
    make_named,
    store_embeddings,
    unit_vectors,
)
from tests.database.model_change.helpers import (
    IMAGES,
    NEW,
    active_id,
    add_labels_and_texts,
    answers,
    embed_queued,
    fetch,
    url_of,
)


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


def test_an_external_model_needs_the_images_but_no_labels(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    add_labels_and_texts(database, model_id)
    ((external,),) = fetch(database, "SELECT siglip.add_external_model('theirs', 16)")
    store_embeddings(database, external, dict(zip(image_ids[:1], unit_vectors(1), strict=True)))
    with pytest.raises(DatabaseError, match=f"1 of the {IMAGES} images .*{IMAGES - 1} not imported"):
        fetch(database, "SELECT siglip.switch_model('theirs')")
    store_embeddings(database, external, dict(zip(image_ids[1:], unit_vectors(IMAGES - 1), strict=True)))
    fetch(database, "SELECT siglip.switch_model('theirs')")
    assert active_id(database) == external


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
    add_labels_and_texts(database, model_id, new_id)
    fetch(database, "SELECT siglip.calibrate('pets', 'cat', '{1,2,3}', '{4,5,6}')")
    kept = "SELECT scale, bias FROM siglip.label_calibrations WHERE model_id = %s AND is_current"
    assert fetch(database, kept, new_id) == []
    with database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute("SELECT siglip.switch_model('new/model')")
    assert fetch(database, kept, new_id) == []
    fetch(database, "SELECT siglip.switch_model('new/model')")
    (fit,) = fetch(database, kept, new_id)
    assert fit == fetch(database, "SELECT scale, bias FROM siglip.calibrate('pets', 'cat')")[0]
    assert fit != fetch(database, kept, model_id)[0]


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
