"""Counts what is in the stream."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from uuid import UUID

from siglip_workers.ingest.work import Work


class Progress:
    """How many items are where. Thread-safe.

    Attributes:
        in_stream: Items that are claimed and not yet closed.
        unfinished: Those of them that have no result yet.
        preparing: Those of them that aren't ready for the device yet.
        done: Items that were closed as done since the start.
        failed: Items that were closed as failed.
    """

    def __init__(self) -> None:
        self.in_stream = self.unfinished = self.preparing = 0
        self.done = self.failed = 0
        self._tokens: Counter[UUID] = Counter()
        self._changed = threading.Condition()

    @property
    def tokens(self) -> list[UUID]:
        """The claims that have items in the stream."""
        with self._changed:
            return list(self._tokens)

    @contextmanager
    def claim(self, lease_token: UUID) -> Iterator[None]:
        """Keep a claim open while it is made, so that what it gets isn't taken for a stray; its items do after that."""
        with self._changed:
            self._tokens[lease_token] += 1
        try:
            yield
        finally:
            with self._changed:
                self._drop_token(lease_token)

    def enter(self, works: Collection[Work]) -> None:
        """Items enter the stream."""
        with self._changed:
            self.in_stream += len(works)
            self.unfinished += len(works)
            self.preparing += len(works)
            self._tokens.update(work.lease_token for work in works)

    def end_preparing(self, count: int) -> bool:
        """Items are ready for the device, or need no preparing; returns whether none is being prepared now."""
        with self._changed:
            self.preparing -= count
            return self.preparing == 0

    def finish(self, count: int) -> bool:
        """Items have their result; returns whether none is without one now."""
        with self._changed:
            self.unfinished -= count
            return self.unfinished == 0

    def leave(self, works: Iterable[Work], *, done: int, failed: int) -> None:
        """Items are closed."""
        with self._changed:
            for work in works:
                self.in_stream -= 1
                self._drop_token(work.lease_token)
            self.done += done
            self.failed += failed
            self._changed.notify_all()

    def wait_until(self, most: int, timeout_s: float) -> bool:
        """Wait until at most so many items are in the stream."""
        with self._changed:
            return self._changed.wait_for(lambda: self.in_stream <= most, timeout_s)

    def _drop_token(self, lease_token: UUID) -> None:
        self._tokens[lease_token] -= 1
        if not self._tokens[lease_token]:
            del self._tokens[lease_token]
