"""Callers that are gathered: each gets its own vectors or its own error, and nobody waits for company."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest.embedders.batching import MAX_TEXTS, BatchCounts, BatchingEmbedder, Gatherer
from siglip_ingest.errors import InvalidInputError, WorkerUnavailableError
from siglip_ingest.types import TextReader
from tests.database.helpers import INFO, FakeEmbedder, text_vector
from tests.programs import wait_until

THREADS = 300


class ReadingEmbedder(FakeEmbedder):
    """Notes its calls; refuses a call that has a text beginning with `bad`; can be held in the middle of a call."""

    def __init__(self) -> None:
        super().__init__(INFO)
        self.batches: list[list[str]] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.entered = threading.Event()

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(list(texts))
        self.entered.set()
        assert self.go_on.wait(30)
        for text in texts:
            if text.startswith("bad"):
                raise InvalidInputError(f"refused: {text}")
            if text.startswith("broken"):
                raise RuntimeError(text)
            if text == "away":
                raise WorkerUnavailableError("away")
        return super().embed_texts(texts)

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        return [None] * len(texts)

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        return None

    def is_settled(self, prefix: str) -> bool:
        return False

    def locate(self) -> str:
        return "here"


@pytest.fixture
def inner() -> ReadingEmbedder:
    return ReadingEmbedder()


def gather_behind(
    inner: ReadingEmbedder, embedder: BatchingEmbedder, calls: Sequence[Sequence[str]]
) -> list[Callable[[], Any]]:
    """Start calls while the model is busy with `first`, let it go on when all wait, and return their outcomes."""
    inner.go_on.clear()
    with ThreadPoolExecutor(len(calls) + 1) as threads:
        first = threads.submit(embedder.embed_texts, ["first"])
        assert inner.entered.wait(30)
        futures = []
        for place, call in enumerate(calls):
            futures.append(threads.submit(embedder.embed_texts, call))
            wait_until(lambda place=place: len(embedder._texts._waiting) > place)  # type: ignore[misc]
        inner.go_on.set()
        assert first.result(30).shape == (1, INFO.dimension)
        for future in futures:
            future.exception(30)
    return [future.result for future in futures]


def test_one_caller_goes_at_once(inner: ReadingEmbedder) -> None:
    embedder = BatchingEmbedder(inner)
    assert np.array_equal(embedder.embed_texts(["a", "b"]), [text_vector("a"), text_vector("b")])
    assert inner.batches == [["a", "b"]]


def test_those_that_wait_are_one_batch(inner: ReadingEmbedder) -> None:
    counts = BatchCounts()
    outcomes = gather_behind(inner, BatchingEmbedder(inner, counts), [[f"text {n}"] for n in range(20)])
    assert [np.array_equal(outcome()[0], text_vector(f"text {n}")) for n, outcome in enumerate(outcomes)] == [True] * 20
    assert inner.batches == [["first"], [f"text {n}" for n in range(20)]]
    assert counts.copy()["texts"] == {1: 1, 20: 1}


def test_a_batch_has_a_largest_size(inner: ReadingEmbedder) -> None:
    gather_behind(inner, BatchingEmbedder(inner), [[f"{n} {m}" for m in range(10)] for n in range(15)])
    assert [len(batch) for batch in inner.batches] == [1, 60, 60, 30]
    assert MAX_TEXTS == 64


def test_a_long_list_goes_by_itself(inner: ReadingEmbedder) -> None:
    embedder = BatchingEmbedder(inner)
    texts = [str(n) for n in range(MAX_TEXTS)]
    assert embedder.embed_texts(texts).shape == (MAX_TEXTS, INFO.dimension)
    assert not embedder._texts._is_busy


def test_a_bad_text_fails_alone(inner: ReadingEmbedder) -> None:
    calls = [["bad egg"] if n == 7 else ["broken"] if n == 12 else [f"text {n}"] for n in range(20)]
    outcomes = gather_behind(inner, BatchingEmbedder(inner), calls)
    for n, outcome in enumerate(outcomes):
        if n == 7:
            with pytest.raises(InvalidInputError, match="refused: bad egg"):
                outcome()
        elif n == 12:
            with pytest.raises(RuntimeError, match="broken"):
                outcome()
        else:
            assert np.array_equal(outcome()[0], text_vector(f"text {n}"))


def test_an_outage_is_met_once(inner: ReadingEmbedder) -> None:
    outcomes = gather_behind(inner, BatchingEmbedder(inner), [["away"], ["text"], ["text"]])
    for outcome in outcomes:
        with pytest.raises(WorkerUnavailableError):
            outcome()
    assert len(inner.batches) == 2


def test_hundreds_of_threads_each_get_their_own(inner: ReadingEmbedder) -> None:
    embedder, together = BatchingEmbedder(inner), threading.Barrier(THREADS)

    def ask(number: int) -> None:
        together.wait(60)
        for turn in range(5):
            text = f"bad {number}" if (number + turn) % 10 == 0 else f"text {number} {turn}"
            if text.startswith("bad"):
                with pytest.raises(InvalidInputError, match=f"^refused: {text}$"):
                    embedder.embed_texts([text])
            else:
                assert np.array_equal(embedder.embed_texts([text, "x"]), [text_vector(text), text_vector("x")])

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(ask, range(THREADS)))
    assert not embedder._texts._is_busy
    assert not embedder._texts._waiting


def test_who_is_interrupted_leaves_the_others_their_turn() -> None:
    entered, go_on, calls = threading.Event(), threading.Event(), list[list[str]]()

    def embed(rows: Sequence[str]) -> NDArray[np.float32]:
        calls.append(list(rows))
        entered.set()
        assert go_on.wait(30)
        if rows[0] == "interrupted":
            raise KeyboardInterrupt
        return np.stack([text_vector(row) for row in rows])

    gatherer: Gatherer[str] = Gatherer(embed, 64, lambda _: None)
    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(gatherer.embed, ["first"])]
        assert entered.wait(30)
        for place, text in enumerate(["interrupted", "b", "c"]):
            futures.append(threads.submit(gatherer.embed, [text]))
            wait_until(lambda place=place: len(gatherer._waiting) > place)  # type: ignore[misc]
        go_on.set()
        with pytest.raises(KeyboardInterrupt):
            futures[1].result(30)
        for future, text in zip(futures[2:], "bc", strict=True):
            assert np.array_equal(future.result(30)[0], text_vector(text))
    assert calls == [["first"], ["interrupted", "b", "c"], ["b", "c"]]


def test_what_else_the_embedder_can_do_stays(inner: ReadingEmbedder) -> None:
    embedder: Any = BatchingEmbedder(inner)
    assert isinstance(embedder, TextReader)
    assert embedder.info is INFO
    assert embedder.locate() == "here"
    with pytest.raises(AttributeError, match="nothing"):
        _ = embedder.nothing


def test_a_forked_child_waits_for_nobody(inner: ReadingEmbedder) -> None:
    embedder = BatchingEmbedder(inner)
    embedder._texts._is_busy = True
    embedder._texts._lock.acquire()
    embedder.forget_inherited()
    assert embedder.embed_texts(["a"]).shape == (1, INFO.dimension)
