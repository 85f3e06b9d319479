"""What lies between two stages of the stream: a bounded queue that is emptied many at a time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class StageQueue(Generic[T]):
    """First in, first out. Thread-safe; `put` waits while it is full, which holds back the stage before it.

    Args:
        max_length: Entries that it holds before `put` waits.
        max_weight: What its entries may weigh together before `put` waits; one entry alone may weigh more.
        weigh: Gives the weight of an entry.
    """

    def __init__(self, max_length: int, *, max_weight: int = 0, weigh: Callable[[T], int] = lambda _: 0) -> None:
        self._max_length = max_length
        self._max_weight = max_weight
        self._weigh = weigh
        self._entries: deque[tuple[float, T]] = deque()
        self._weight = 0
        self._is_closed = False
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._emptied = threading.Condition(lock)

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entries: Iterable[T]) -> None:
        """Append entries, one after the other as there is room; once the queue is closed they are dropped."""
        with self._emptied:
            for entry in entries:
                self._emptied.wait_for(self._has_room)
                if self._is_closed:
                    return
                self._entries.append((time.monotonic(), entry))
                self._weight += self._weigh(entry)
                self._filled.notify()

    def take(self, most: int) -> list[T]:
        """Wait for an entry, and take what is there, up to `most`; none once the queue is closed and empty."""
        with self._filled:
            self._filled.wait_for(lambda: self._is_closed or self._entries)
            return self._pop(most)

    def take_batch(self, size: Callable[[], int], max_wait_s: float, is_more_coming: Callable[[], bool]) -> list[T]:
        """Wait until a batch is full, and take it; none once the queue is closed and empty.

        A batch counts as full, too, once its first entry has waited for `max_wait_s`, or nothing more is coming: who
        sees that end calls `look`.

        Args:
            size: How many entries make a batch; asked again while waiting.
            max_wait_s: Seconds.
            is_more_coming: Whether other entries are on their way.
        """
        with self._filled:
            while not self._is_closed:
                wait_s = None
                if self._entries:
                    wait_s = self._entries[0][0] + max_wait_s - time.monotonic()
                    is_full = len(self._entries) >= min(size(), self._max_length)
                    if is_full or wait_s <= 0 or not is_more_coming():
                        break
                self._filled.wait(wait_s)
            return self._pop(size())

    def look(self) -> None:
        """Have who waits look again whether a batch is due."""
        with self._filled:
            self._filled.notify_all()

    def close(self, *, is_dropped: bool = True) -> None:
        """Let everybody go who waits. What is left is dropped, or may still be taken."""
        with self._filled:
            self._is_closed = True
            if is_dropped:
                self._entries.clear()
            self._filled.notify_all()
            self._emptied.notify_all()

    def _has_room(self) -> bool:
        is_light = not self._max_weight or not self._entries or self._weight < self._max_weight
        return self._is_closed or (len(self._entries) < self._max_length and is_light)

    def _pop(self, most: int) -> list[T]:
        taken = [self._entries.popleft()[1] for _ in range(min(most, len(self._entries)))]
        self._weight -= sum(map(self._weigh, taken))
        self._emptied.notify(len(taken))
        return taken
