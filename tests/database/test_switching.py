"""The active model is switched while others index, search and label: nothing is lost, and nothing is mixed."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest import active_model, ingest, labeling, search
from siglip_ingest.db import Database, images, items
from siglip_ingest.db.models import ModelKey, activate_model, delete_unused_model, get_active_model, hold_active_model
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.types import ModelInfo
from tests.database.helpers import (
    INFO,
    FakeEmbedder,
    NamedEmbedder,
    add_model,
    add_pets,
    image_rows,
    index_images,
    make_named,
    states,
    text_vector,
    unit_vectors,
)
from tests.programs import wait_until

NEW = dataclasses.replace(INFO, name="new")  # of the same dimension
IMAGES = 40


class InterruptedEmbedder(NamedEmbedder):
    """Something happens while it embeds for the first time."""

    def __init__(self, info: ModelInfo, meanwhile: Callable[[], object]) -> None:
        super().__init__(info)
        self._meanwhile = meanwhile

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        return super().embed_texts(texts)


@pytest.fixture
def new_id(database: Database, model_id: int) -> int:
    """A second model beside the active one."""
    with database.connection() as connection:
        return add_model(connection, NEW, is_active=False)


@pytest.fixture
def image_ids(database: Database, model_id: int, new_id: int) -> list[int]:
    """Images with vectors under both models, which order them differently."""
    index_images(database, model_id, unit_vectors(IMAGES, seed=1))
    return index_images(database, new_id, unit_vectors(IMAGES, seed=2))


def nearest(info: ModelInfo, image_ids: Sequence[int], query: str) -> list[int]:
    vectors = unit_vectors(IMAGES, seed=1 if info is INFO else 2)
    return [image_ids[n] for n in np.argsort(-(vectors @ text_vector(f"{info.name}: {query}")))[:5]]


def switch(database: Database, model_id: int) -> None:
    assert active_model.switch_model(database, model_id)


def wait_for_a_lock(database: Database) -> None:
    """Wait until a session of the database waits for another one."""
    statement = b"SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    wait_until(lambda: database.fetch(statement))  # a transaction would see the same again and again


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_switch_waits_for_those_who_enqueue_and_queues_what_they_wrote(
    database: Database, model_id: int, new_id: int, thread: ThreadPoolExecutor
) -> None:
    with database.connection() as connection:
        active = hold_active_model(connection)
        assert active is not None
        switching = thread.submit(switch, database, new_id)
        wait_for_a_lock(database)
        images.insert_images(connection, image_rows(3), active.model_id)
    switching.result(60)
    with database.connection() as connection:
        assert states(connection, model_id) == {"queued": 3}
        assert states(connection, new_id) == {"queued": 3}


def test_who_enqueues_while_a_switch_is_made_waits_and_writes_under_the_new_model(
    database: Database, model_id: int, new_id: int, thread: ThreadPoolExecutor
) -> None:
    with database.connection() as connection:
        activate_model(connection, new_id)
        enqueueing: Future[Any] = thread.submit(ingest.enqueue_images, database, b"content")
        wait_for_a_lock(database)
    assert enqueueing.result(60).model_id == new_id
    with database.connection() as connection:
        assert states(connection, model_id) == {}
        assert states(connection, new_id) == {"queued": 1}


def test_activation_queues_what_is_missing_in_its_own_transaction(
    database: Database, model_id: int, new_id: int
) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(3), model_id)
    with database.listen("siglip_ingest_items") as listener:
        with database.connection() as connection:
            activate_model(connection, new_id)
            assert states(connection, new_id) == {"queued": 3}
        assert [note.payload for note in listener.notifies(timeout=10, stop_after=1)] == [str(new_id)]


def test_no_image_is_left_without_an_item_under_the_active_model(
    database: Database, model_id: int, new_id: int
) -> None:
    barrier = threading.Barrier(3)

    def enqueue(caller: int) -> None:
        barrier.wait(30)
        for n in range(40):
            ingest.enqueue_images(database, [f"caller {caller}, image {n}".encode()])

    def switch_to_and_fro(_: int) -> None:
        barrier.wait(30)
        for n in range(40):
            switch(database, [new_id, model_id][n % 2])
            with database.connection() as connection:
                active = get_active_model(connection)
                assert active is not None
                assert items.queue_missing(connection, active.model_id) == 0

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(enqueue, 0), pool.submit(enqueue, 1), pool.submit(switch_to_and_fro, 2)]:
            done.result(120)
    with database.connection() as connection:
        assert sum(states(connection, model_id).values()) == 80


def test_a_switch_in_the_middle_of_a_search_changes_nothing_of_it(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    def make_slow(model: ModelKey) -> FakeEmbedder:
        info = make_named(model).info
        return InterruptedEmbedder(info, meanwhile=lambda: switch(database, new_id))

    found = search.search_by_text(database, make_slow, "a sunset", SearchOptions(limit=5))
    assert [match.image_id for match in found] == nearest(INFO, image_ids, "a sunset")
    found = search.search_by_text(database, make_named, "a sunset", SearchOptions(limit=5))
    assert [match.image_id for match in found] == nearest(NEW, image_ids, "a sunset")
    check_cache(database, 2)
    switch(database, model_id)
    found = search.search_by_image(database, make_slow, "an image", SearchOptions(limit=5))  # type: ignore[arg-type]
    assert [match.image_id for match in found] == nearest(INFO, image_ids, "an image")


def check_cache(database: Database, least: int) -> None:
    """Each cached vector is the one that its own model made."""
    with database.connection() as connection:
        rows: list[Any] = connection.execute(
            "SELECT m.name, t.query, t.embedding::real[] FROM siglip.texts AS t JOIN siglip.models AS m USING "
            "(model_id)"
        ).fetchall()
    assert len(rows) >= least
    for name, query, embedding in rows:
        assert embedding == pytest.approx(text_vector(f"{name}: {query}"), abs=1e-3)


def test_searches_under_a_storm_of_switches_are_each_of_one_model(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    searchers = 8
    at_work = threading.Semaphore(0)
    ended = threading.Event()

    def search_often(caller: int) -> set[str]:
        choice = random.Random(caller)
        seen = set()
        try:
            for n in range(50):
                # Some texts are shared, so that they are in the cache, or become so while another asks.
                query = f"shared {choice.randrange(25)}" if n % 2 else f"own {caller} {n}"
                found = [
                    match.image_id
                    for match in search.search_by_text(database, make_named, query, SearchOptions(limit=5))
                ]
                names = [info.name for info in (INFO, NEW) if found == nearest(info, image_ids, query)]
                assert names, (query, found)
                seen |= set(names)
        finally:
            at_work.release()
        return seen

    def enqueue_often(caller: int) -> None:
        for n in range(20):
            ingest.enqueue_images(database, [f"caller {caller}, image {n}".encode()])

    def switch_to_and_fro() -> None:
        while not ended.is_set():
            for chosen in (new_id, model_id):
                switch(database, chosen)

    with ThreadPoolExecutor(searchers + 3) as pool:
        switching = pool.submit(switch_to_and_fro)
        searching = [pool.submit(search_often, caller) for caller in range(searchers)]
        enqueueing = [pool.submit(enqueue_often, caller) for caller in range(2)]
        for _ in range(searchers):
            at_work.acquire()
        ended.set()
        for done in [switching, *enqueueing]:
            done.result(120)
    assert set().union(*(one.result() for one in searching)) == {INFO.name, NEW.name}
    check_cache(database, 100)
    with database.connection() as connection:
        assert items.queue_missing(connection, model_id) == 0


def test_a_model_that_is_taken_out_in_the_middle_of_a_search_gives_way_to_the_active_one(
    database: Database, model_id: int, new_id: int
) -> None:
    def take_out() -> None:
        switch(database, new_id)
        with database.connection() as connection:
            assert delete_unused_model(connection, model_id)

    asked = []

    def make(model: ModelKey) -> FakeEmbedder:
        asked.append(model.name)
        return InterruptedEmbedder(make_named(model).info, meanwhile=take_out if len(asked) == 1 else lambda: None)

    assert search.search_by_text(database, make, "a sunset") == []
    assert asked == [INFO.name, NEW.name]
    check_cache(database, 1)


class PatientClock:
    """Stands in for the module `time`: its time goes on only while somebody sleeps, and then a worker is at work."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.now_s = 0.0
        self._work = work

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self._work()


def active_id(database: Database) -> int:
    with database.connection() as connection:
        active = get_active_model(connection)
    assert active is not None
    return active.model_id


def test_a_switch_waits_until_the_labels_have_the_new_model_s_vectors(
    database: Database, model_id: int, new_id: int, image_ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    labeling.create_label_set(database, make_named, "pets", ["cat", "dog"])

    def work() -> None:
        assert active_id(database) == model_id
        labeling.embed_labels_for_model(database, NamedEmbedder(NEW), new_id)

    monkeypatch.setattr(active_model, "time", PatientClock(work))
    assert active_model.switch_model(database, new_id, wait_for_labels_s=60)
    assert active_id(database) == new_id
    assert len(labeling.label_scores_of_image_id(database, image_ids[0], "pets")) == 2


def test_a_switch_waits_for_labels_only_so_long(
    database: Database, model_id: int, new_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeling.create_label_set(database, make_named, "pets", ["cat"])
    clock = PatientClock(lambda: None)
    monkeypatch.setattr(active_model, "time", clock)
    assert not active_model.switch_model(database, new_id, wait_for_labels_s=60)
    assert 60 <= clock.now_s < 61
    assert active_id(database) == new_id


def test_labels_that_are_embedded_while_the_model_is_switched_get_the_new_one_s_vectors(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    def make_slow(model: ModelKey) -> FakeEmbedder:
        return InterruptedEmbedder(make_named(model).info, meanwhile=lambda: switch(database, new_id))

    labeling.create_label_set(database, make_slow, "pets", ["cat", "dog"])
    assert active_id(database) == new_id
    assert len(labeling.label_scores_of_image_id(database, image_ids[0], "pets")) == 2


def test_a_switch_waits_for_those_who_make_labels_and_knows_of_them(
    database: Database, model_id: int, new_id: int, thread: ThreadPoolExecutor
) -> None:
    with database.connection() as connection:
        hold_active_model(connection)
        switching = thread.submit(active_model.switch_model, database, new_id)
        wait_for_a_lock(database)
        add_pets(connection)
    assert switching.result(60) is False
