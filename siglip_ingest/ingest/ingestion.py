"""Follows queued images until they are done."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from siglip_ingest.db import Database, items
from siglip_ingest.errors import WorkerUnavailableError
from siglip_ingest.types import ImageFailure, IngestCounts

logger = logging.getLogger(__name__)

FIRST_POLL_S = 0.05
LAST_POLL_S = 1.0
CHECK_AFTER_S = 2.0  # without progress, a waiting ingestion looks after the worker
STALL_S = 30.0  # without progress, a waiting ingestion says so


class Ingestion:
    """The images of one `enqueue_images` call, followed through the ledger.

    Attributes:
        image_ids: Keys in `siglip.images`, in the order of the sources; a source given twice is there once.
        model_id: The model that they are embedded with.
    """

    def __init__(
        self,
        database: Database,
        image_ids: Sequence[int],
        model_id: int,
        *,
        check_worker: Callable[[int], None] | None = None,
    ) -> None:
        self.image_ids = list(image_ids)
        self.model_id = model_id
        self._database = database
        self._check_worker = check_worker

    def __repr__(self) -> str:
        return f"Ingestion({len(self.image_ids)} images, model_id={self.model_id})"

    def counts(self) -> IngestCounts:
        """How many are queued, in progress, done and failed."""
        with self._database.connection() as connection:
            return items.count_items(connection, self.image_ids, self.model_id)

    def failures(self) -> list[ImageFailure]:
        """The images that ended as failed, each with a code and a sentence."""
        with self._database.connection() as connection:
            return items.list_failures(connection, self.image_ids, self.model_id)

    def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> IngestCounts:
        """Wait until every image is embedded or has failed.

        Args:
            timeout_s: Longest time to wait; None waits for as long as it takes, and says so once nothing has moved for
                half a minute.
            progress: Whether to draw a progress bar on stderr; by default where that is a terminal.

        Raises:
            WorkerUnavailableError: If `timeout_s` runs out. The images stay queued.
        """
        from tqdm import tqdm

        is_shown = sys.stderr.isatty() if progress is None else progress
        with tqdm(total=len(self.image_ids), unit=" images", disable=not is_shown, file=sys.stderr, leave=True) as bar:
            for counts in self._poll(timeout_s):
                bar.n = counts.done + counts.failed
                if counts.failed:
                    bar.set_postfix_str(f"{counts.failed} failed", refresh=False)
                bar.refresh()
                if counts.is_finished:
                    return counts
        raise WorkerUnavailableError(
            f"After {timeout_s:g} s: {counts}. What is queued stays queued. Is a worker running? "
            "`siglip-ingest worker` starts one."
        )

    def _poll(self, timeout_s: float | None) -> Iterator[IngestCounts]:
        """Yield the counts, ever more slowly while nothing changes, and complain when nothing changes for long."""
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
            yield counts
            if timeout_s is not None and now - started >= timeout_s:
                return
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
            pause_s = min(LAST_POLL_S, max(1.3 * pause_s, 5 * (now - asked)))
            time.sleep(pause_s if timeout_s is None else max(0.0, min(pause_s, started + timeout_s - now)))
