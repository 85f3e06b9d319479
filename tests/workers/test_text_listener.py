"""The thread that answers texts, in this process, with a device that counts its batches."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest.db import Database
from siglip_workers.text_listener import TextListener
from tests.database.helpers import INFO, add_model, text_vector
from tests.programs import wait_until


class CountingDevice:
    """Makes `text_vector`s, and waits with the first batch until it is told to go on."""

    info = INFO

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go_on = threading.Event()
        self.failures = 0

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(list(texts))
        assert self.go_on.wait(60)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("illegal memory access")
        return np.stack([text_vector(text) for text in texts])

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        return None

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        return ["Nothing is left of it." if text == "!!!" else None for text in texts]

    def is_settled(self, prefix: str) -> bool:
        return False


@pytest.fixture
def model_id(database: Database) -> int:
    with database.connection() as connection:
        return add_model(connection)


def ask(database: Database, query: str) -> object:
    with database.session() as connection:
        row = connection.execute("SELECT siglip.embed_text(%s, NULL, 60)::real[]", [query]).fetchone()
    assert row is not None
    return row[0]


def make_listener(database: Database, device: CountingDevice, model_id: int) -> TextListener:
    listener = TextListener(database, database, device, model_id, max_cached_texts=1000)  # type: ignore[arg-type]
    listener.start()
    with database.connection() as connection:
        there = "SELECT siglip.has_text_listener(%s)"
        wait_until(lambda: connection.execute(there, [model_id]).fetchone() == (True,))
    return listener


def test_what_many_sessions_ask_is_one_batch_and_one_text_is_embedded_once(database: Database, model_id: int) -> None:
    device = CountingDevice()
    listener = make_listener(database, device, model_id)
    texts = [f"text {number % 50}" for number in range(100)]
    with ThreadPoolExecutor(101) as threads:
        first = threads.submit(ask, database, "the first one")
        wait_until(lambda: device.batches)
        asked = [threads.submit(ask, database, text) for text in texts]
        with database.connection() as connection:
            bells = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1397311308"
            wait_until(lambda: connection.execute(bells).fetchone() == (101,))
        device.go_on.set()
        found = [each.result(60) for each in asked]
        first.result(60)
    listener.close()
    np.testing.assert_allclose(np.array(found), [text_vector(text) for text in texts], atol=1e-3)
    assert [len(batch) for batch in device.batches] == [1, 50]


def test_a_text_that_is_refused_leaves_the_others_of_its_batch_alone(database: Database, model_id: int) -> None:
    device = CountingDevice()
    device.go_on.set()
    listener = make_listener(database, device, model_id)
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask, database, text) for text in ("a boat", "!!!", "x" * 2000)]
        asked[0].result(60)
        for refused, reason in zip(asked[1:], ("Nothing is left of it", "goes on after the first 1,200"), strict=True):
            with pytest.raises(Exception, match=reason):
                refused.result(60)
    listener.close()


def test_a_batch_that_fails_is_tried_again(database: Database, model_id: int) -> None:
    device = CountingDevice()
    device.failures = 1
    device.go_on.set()
    listener = make_listener(database, device, model_id)
    np.testing.assert_allclose(np.array(ask(database, "a boat")), text_vector("a boat"), atol=1e-3)
    listener.close()
    assert len(device.batches) == 2


def test_another_listener_stands_by_and_takes_over(database: Database, model_id: int) -> None:
    first, second = CountingDevice(), CountingDevice()
    for device in (first, second):
        device.go_on.set()
    listeners = [make_listener(database, device, model_id) for device in (first, second)]
    ask(database, "one")
    assert (len(first.batches), len(second.batches)) == (1, 0)
    listeners[0].close()
    ask(database, "two")
    assert (len(first.batches), len(second.batches)) == (1, 1)
    listeners[1].close()
