"""Queries that arrive together are embedded together.

Nobody waits for company: where the model is idle, the first caller goes at once. Those that arrive while it computes
are the next batch, which the first of them computes for all. So a batch is as large as there is traffic, and one query
alone takes as long as ever.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from siglip_ingest import process
from siglip_ingest.errors import ImageError, InvalidInputError, SiglipError
from siglip_ingest.types import Embedder, LocatedText, Locator, ModelInfo, TextReader

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

T = TypeVar("T")

MAX_TEXTS = 64
MAX_IMAGES = 16  # decoded ones: a batch of them isn't to take the memory of many


@dataclass
class BatchCounts:
    """How large the batches were that a program's queries were embedded in. Thread-safe.

    Attributes:
        batches: How many batches had so many rows, by kind (`texts`, `images`) and rows.
    """

    batches: dict[str, Counter[int]] = field(default_factory=lambda: {"texts": Counter(), "images": Counter()})
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, kind: str, rows: int) -> None:
        """Count a batch."""
        with self._lock:
            self.batches[kind][rows] += 1

    def copy(self) -> dict[str, Counter[int]]:
        """`batches` as they are now."""
        with self._lock:
            return {kind: Counter(counts) for kind, counts in self.batches.items()}


class _Request(Generic[T]):
    """What one caller asks. `woken` is set when it is answered, or is to compute the next batch."""

    def __init__(self, rows: Sequence[T]) -> None:
        self.rows = rows
        self.woken = threading.Event()
        self.answer: NDArray[np.float32] | None = None
        self.error: BaseException | None = None

    @property
    def is_answered(self) -> bool:
        return self.answer is not None or self.error is not None


class Gatherer(Generic[T]):
    """Gathers calls of several threads into one. Thread-safe.

    Args:
        embed: (N, D) vectors of N rows, in their order.
        max_rows: Most rows of a batch. A call with more of them, or with as many, is left alone.
        count: Told how many rows each call of `embed` had.
    """

    def __init__(
        self, embed: Callable[[Sequence[T]], NDArray[np.float32]], max_rows: int, count: Callable[[int], None]
    ) -> None:
        self._embed = embed
        self._max_rows = max_rows
        self._count = count
        self.forget_inherited()

    def forget_inherited(self) -> None:
        """In a process that was forked off: who waits, and who computes, are the parent's."""
        self._lock = threading.Lock()
        self._waiting: deque[_Request[T]] = deque()
        self._is_busy = False

    def embed(self, rows: Sequence[T]) -> NDArray[np.float32]:
        """The (N, D) vectors of N rows; raises what `embed` raises for these rows, whatever others ask."""
        if len(rows) >= self._max_rows or not rows:
            return self._call(rows)
        request = _Request(rows)
        with self._lock:
            self._waiting.append(request)
            is_first = not self._is_busy
            self._is_busy = True
        if not is_first:
            self._wait(request)
        if not request.is_answered:
            self._compute_batch(request)
        if request.error is not None:
            raise request.error
        assert request.answer is not None  # noqa: S101  # one of the two is there
        return request.answer

    def _wait(self, request: _Request[T]) -> None:
        """Wait until a request is answered, or its turn has come."""
        try:
            request.woken.wait()
        except BaseException:  # Ctrl-C in a main thread: nobody else may wait for this one
            with self._lock:
                is_next = request.woken.is_set() and not request.is_answered
                if request in self._waiting:
                    self._waiting.remove(request)
                following = self._waiting[0] if is_next and self._waiting else None
                if is_next:
                    self._is_busy = following is not None
            if following is not None:
                following.woken.set()
            raise

    def _compute_batch(self, own: _Request[T]) -> None:
        """Answer the oldest requests, of which `own` is the first, and hand the work on."""
        batch = self._take_batch()
        try:
            self._answer(batch)
        finally:
            with self._lock:
                # Interrupted (Ctrl-C) in the middle: the others are asked again, before those that came later.
                left = [request for request in batch if not request.is_answered and request is not own]
                self._waiting.extendleft(reversed(left))
                following = self._waiting[0] if self._waiting else None
                self._is_busy = following is not None
            for request in batch:
                if request.is_answered:
                    request.woken.set()
            if following is not None:
                following.woken.set()

    def _take_batch(self) -> list[_Request[T]]:
        with self._lock:
            batch = [self._waiting.popleft()]
            rows = len(batch[0].rows)
            while self._waiting and rows + len(self._waiting[0].rows) <= self._max_rows:
                batch.append(self._waiting.popleft())
                rows += len(batch[-1].rows)
        return batch

    def _answer(self, batch: Sequence[_Request[T]]) -> None:
        """Answer requests: each with its vectors, or its own error."""
        try:
            vectors = self._call([row for request in batch for row in request.rows])
        except Exception as error:  # noqa: BLE001  # each caller gets it
            # What a row of one request causes must not fail the others; an outage would only be met again.
            is_of_a_row = isinstance(error, InvalidInputError | ImageError) or not isinstance(error, SiglipError)
            if is_of_a_row and len(batch) > 1:
                middle = len(batch) // 2
                self._answer(batch[:middle])
                self._answer(batch[middle:])
                return
            for request in batch:
                request.error = error
            return
        start = 0
        for request in batch:
            # A copy: a caller that keeps its row wouldn't keep the whole batch.
            request.answer = vectors[start : start + len(request.rows)].copy()
            start += len(request.rows)

    def _call(self, rows: Sequence[T]) -> NDArray[np.float32]:
        vectors = self._embed(rows)
        self._count(len(rows))
        return vectors


class LocalEmbedder(Embedder, TextReader, Locator, Protocol):
    """An embedder of this process."""


class BatchingEmbedder:
    """An embedder of this process whose callers are gathered; what else it can do, it does as before. Thread-safe.

    Args:
        embedder: Computes.
        counts: Where batches are counted.
    """

    def __init__(self, embedder: LocalEmbedder, counts: BatchCounts | None = None) -> None:
        counts = counts or BatchCounts()
        self.inner = embedder
        self._texts: Gatherer[str] = Gatherer(embedder.embed_texts, MAX_TEXTS, lambda rows: counts.add("texts", rows))
        self._images: Gatherer[Image.Image] = Gatherer(
            embedder.embed_images, MAX_IMAGES, lambda rows: counts.add("images", rows)
        )
        process.register_for_forks(self)

    def __getattr__(self, name: str) -> Any:
        if name == "inner":  # asked before it is there, by `copy` for instance
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def info(self) -> ModelInfo:
        """The model."""
        return self.inner.info

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as typed; returns (N, D) float32 unit vectors in the same order. Raises as the embedder does."""
        if isinstance(texts, str):
            return self.inner.embed_texts(texts)  # which says what is wrong with it
        return self._texts.embed(list(texts))

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded images; returns (N, D) float32 unit vectors in the same order. Raises as the embedder does."""
        return self._images.embed(list(images))

    def locate_text(self, image: Image.Image, text: str) -> LocatedText:
        """Say which parts of a decoded RGB image made it fit a text."""
        return self.inner.locate_text(image, text)

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        """Say for each text why it is refused; None where the model reads something of it."""
        return self.inner.describe_refusals(texts)

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        """Say which texts are too long for the model, and what of them it doesn't read; None where it reads all."""
        return self.inner.describe_truncation(texts)

    def is_settled(self, prefix: str) -> bool:
        """Whether the model reads nothing of what may follow: text after `prefix` would not change its vector."""
        return self.inner.is_settled(prefix)

    def forget_inherited(self) -> None:
        """In a process that was forked off: other threads' calls are the parent's. The embedder is told by itself."""
        self._texts.forget_inherited()
        self._images.forget_inherited()
