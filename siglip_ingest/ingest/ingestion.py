"""Follows queued images until they are done."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NoReturn, Self

from siglip_ingest.db import Database, ingestions
from siglip_ingest.errors import WorkerUnavailableError
from siglip_ingest.types import ImageFailure, IngestCounts

if TYPE_CHECKING:
    from tqdm import tqdm

logger = logging.getLogger(__name__)

FIRST_POLL_S = 0.05
LAST_POLL_S = 1.0
MAX_POLL_S = 30.0
POLL_SHARE = 25  # a pause is so many times as long as counting takes
CUT_OFF_AFTER_S = 600.0  # an ingestion that isn't complete and hasn't grown for so long was cut off
CHECK_AFTER_S = 2.0  # without progress, a waiting ingestion looks after the worker
STALL_S = 30.0  # without progress, a waiting ingestion says so


class Ingestion:
    """Images that were queued together, followed through the ledger; any process can follow them by their id.

    Attributes:
        ingestion_id: Key in `siglip.ingestions`, which keeps it for 30 days.
        model_id: The model that they are embedded with.
    """

    def __init__(
        self,
        database: Database,
        ingestion_id: int,
        model_id: int,
        *,
        check_worker: Callable[[int], None] | None = None,
    ) -> None:
        self.ingestion_id = ingestion_id
        self.model_id = model_id
        self._database = database
        self._check_worker = check_worker

    def __repr__(self) -> str:
        return f"Ingestion({self.ingestion_id}, model_id={self.model_id})"

    @property
    def image_ids(self) -> list[int]:
        """Keys in `siglip.images`, in the order of the sources, all at once; a source given twice is there once."""
        with self._database.connection() as connection:
            return ingestions.list_image_ids(connection, self.ingestion_id)

    def counts(self) -> IngestCounts:
        """How many are queued, in progress, done and failed."""
        with self._database.connection() as connection:
            return ingestions.count_items(connection, self.ingestion_id)

    def failures(self) -> list[ImageFailure]:
        """The images that ended as failed, each with a code and a sentence."""
        with self._database.connection() as connection:
            return ingestions.list_failures(connection, self.ingestion_id)

    def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> IngestCounts:
        """Wait until every image is embedded or has failed.

        While another process still queues images of this ingestion, it waits for those too.

        Args:
            timeout_s: Longest time to wait; None waits for as long as it takes, and says so once nothing has moved for
                half a minute.
            progress: Whether to draw a progress bar on stderr, with a rate and the time that is left; by default where
                that is a terminal.

        Raises:
            WorkerUnavailableError: If `timeout_s` runs out. The images stay queued.
        """
        counts = IngestCounts()
        with ProgressBar(progress) as bar:
            for counts, pause_s in self.poll(timeout_s):
                bar.draw(counts)
                time.sleep(pause_s)
        return counts

    def follow(self, timeout_s: float | None = None) -> Iterator[IngestCounts]:
        """Yield the counts, now and whenever they have changed, until every image is embedded or has failed.

        Args:
            timeout_s: As for `wait`.

        Raises:
            WorkerUnavailableError: If `timeout_s` runs out. The images stay queued.
        """
        last = None
        for counts, pause_s in self.poll(timeout_s):
            if counts != last:
                last = counts
                yield counts
            time.sleep(pause_s)

    def poll(self, timeout_s: float | None = None) -> Iterator[tuple[IngestCounts, float]]:
        """Count again and again, ever more rarely while nothing changes, and complain when nothing changes for long.

        What `wait` and `follow` are made of: whoever advances it does the waiting, in a thread or in an event loop.

        Yields:
            The counts, and the seconds to wait before the next; the last are those of the end.

        Raises:
            WorkerUnavailableError: If `timeout_s` runs out.
        """
        started = moved = time.monotonic()
        said = -math.inf
        last: IngestCounts | None = None
        pause_s = FIRST_POLL_S
        while True:
            asked = time.monotonic()
            counts = self.counts()
            now = time.monotonic()
            if counts != last:
                last, moved, pause_s = counts, now, FIRST_POLL_S
            if counts.is_finished and not self._is_growing():
                yield counts, 0.0
                return
            if timeout_s is not None and now - started >= timeout_s:
                raise WorkerUnavailableError(
                    f"After {timeout_s:g} s: {counts}. What is queued stays queued. Is a worker running? "
                    "`siglip-ingest worker` starts one."
                )
            stalled_s = now - moved
            if self._check_worker is not None and stalled_s > CHECK_AFTER_S:
                self._check_worker(self.model_id)
            if stalled_s > STALL_S and now - said > 10 * STALL_S and not counts.is_finished:
                said = now
                logger.warning(
                    "No image has been embedded for %.0f s: %s. A worker may be loading its model, or images may be "
                    "waiting for their next attempt; if no worker is running, `siglip-ingest worker` starts one.",
                    stalled_s,
                    counts,
                )
            # Counting takes its time from the workers: of many images, only a small part of it.
            pause_s = max(min(LAST_POLL_S, 1.3 * pause_s), min(MAX_POLL_S, POLL_SHARE * (now - asked)))
            yield counts, pause_s if timeout_s is None else max(0.0, min(pause_s, started + timeout_s - now))

    def _is_growing(self) -> bool:
        """Whether images may still be added."""
        with self._database.connection() as connection:
            state = ingestions.get_ingestion(connection, self.ingestion_id)
        if state.is_complete or state.since_growth_s < CUT_OFF_AFTER_S:
            return not state.is_complete
        logger.warning(
            "Ingestion %d was cut off: the process that queued its images ended before all were queued. Queue them "
            "once more; what is indexed stays.",
            self.ingestion_id,
        )
        return False


class ProgressBar:
    """Draws how far an ingestion is on stderr, with a rate and the time that is left; nothing where not asked to."""

    def __init__(self, is_shown: bool | None) -> None:
        self._is_shown = sys.stderr.isatty() if is_shown is None else is_shown
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def draw(self, counts: IngestCounts) -> None:
        """Draw the counts of this moment."""
        ended = counts.done + counts.failed
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(unit=" images", disable=not self._is_shown, file=sys.stderr, initial=ended)
        self._bar.total = counts.total
        if counts.failed:
            self._bar.set_postfix_str(f"{counts.failed} failed", refresh=False)
        self._bar.update(ended - self._bar.n)
        self._bar.refresh()
