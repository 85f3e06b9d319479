"""The stream that all claims of a worker feed: fetch, decode and resize, embed, write.

Each stage has threads of its own, and the queues between them are bounded: a stage that is slower holds back those
before it, and the memory that the stream takes is constant. While the device works on one batch, the next is prepared
and the last is written; batches and transactions fill across claims.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from siglip_ingest.db import Database, items
from siglip_ingest.settings import Settings
from siglip_workers.device import Device
from siglip_workers.ingest.batcher import Batcher
from siglip_workers.ingest.contents import Contents
from siglip_workers.ingest.preparing import Preparer
from siglip_workers.ingest.progress import Progress
from siglip_workers.ingest.work import Finished, Work
from siglip_workers.ingest.writer import Writer
from siglip_workers.threads import stop_process

logger = logging.getLogger(__name__)

LOG_EVERY_S = 10.0
AHEAD_S = 4.0  # so much work is claimed ahead
MAX_IN_STREAM = 4096


class Stream:
    """Embeds images for one model. Thread-safe.

    Attributes:
        progress: What is in the stream.
    """

    def __init__(
        self,
        database: Database,
        device: Device,
        model_id: int,
        settings: Settings,
        cores: int,
        *,
        stop_worker: Callable[[], None] = stop_process,
    ) -> None:
        """Make a stream; its threads start at once.

        Args:
            database: Has the ledger.
            device: Embeds.
            model_id: Of the model on the device.
            settings: The worker's.
            cores: How many of them the worker may use.
            stop_worker: Asks this worker to end, where it can't do its work any more.
        """
        self.progress = Progress()
        self._device = device
        self._chunk_size = settings.chunk_size
        self._contents = Contents()
        self._writer = Writer(
            database, model_id, settings.max_attempts, lambda: self.progress.unfinished > 0, self._leave, stop_worker
        )
        self._batcher = Batcher(device, self._contents, self._finish, lambda: self.progress.preparing > 0, stop_worker)
        self._preparer = Preparer(
            database,
            device,
            model_id,
            settings,
            cores,
            self._contents,
            self._finish,
            self._batcher.put,
            self._end_preparing,
        )
        self._rate = 0.0  # images a second, while there is work
        self._rated_at = self._logged_at = time.monotonic()
        self._logged_done = 0
        self._logged_busy_s = 0.0
        for stage in (self._writer, self._batcher, self._preparer):
            stage.start()

    @property
    def capacity(self) -> int:
        """How many items to have in the stream: some seconds of work, so that no stage waits for a claim.

        On a slow device that is few: what it doesn't reach soon is left to other workers.
        """
        if not self._rate:
            return self._chunk_size
        return min(MAX_IN_STREAM, max(2 * self._device.batch_size, int(self._rate * AHEAD_S)))

    @property
    def room(self) -> int:
        """How many items more to claim now."""
        return max(0, self.capacity - self.progress.in_stream)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until enough room is there for a claim to be worth it."""
        return self.progress.wait_until(self.capacity * 3 // 4, timeout_s)

    def put(self, works: Sequence[Work]) -> None:
        """Take claimed items in."""
        if works and self.progress.in_stream == 0:
            self._rated_at = self._logged_at = time.monotonic()
        self.progress.enter(works)
        self._preparer.put(works)

    def find_stalled(self, after_s: float) -> set[UUID]:
        """The claims of items that hang: a thread has had them for longer than that. All, where the device hangs."""
        now = time.monotonic()
        since = min(self._batcher.busy_since or now, self._batcher.staging_since or now)
        if now - since > after_s:
            return set(self.progress.tokens)
        return {work.lease_token for work in self._preparer.find_stalled(after_s)}

    def close(self) -> None:
        """Finish the batch that is on the device, write what has its result, and leave the rest."""
        self._preparer.close()
        self._batcher.close()
        self._writer.close()

    def _end_preparing(self, count: int) -> None:
        if self.progress.end_preparing(count):
            self._batcher.look()

    def _finish(self, finished: Sequence[Finished]) -> None:
        is_last = self.progress.finish(len(finished))
        self._writer.put(finished)
        if is_last:
            self._writer.look()

    def _leave(self, finished: Sequence[Finished], closed: items.Closed) -> None:
        self._contents.forget(finished)
        self.progress.leave([entry.work for entry in finished], done=closed.done, failed=closed.failed)
        now = time.monotonic()
        rate = len(finished) / max(1e-3, now - self._rated_at)
        self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        self._rated_at = now
        if self.progress.in_stream == 0 or now - self._logged_at >= LOG_EVERY_S:
            self._log(now)

    def _log(self, now: float) -> None:
        done, elapsed_s = self.progress.done - self._logged_done, now - self._logged_at
        busy_s = self._batcher.busy_s - self._logged_busy_s
        if done:
            logger.info(
                "Embedded %d images in %.2f s (%.1f images/s, encoder busy %.0f %%).",
                done,
                elapsed_s,
                done / elapsed_s,
                100 * min(1.0, busy_s / elapsed_s),
            )
        self._logged_at, self._logged_done, self._logged_busy_s = now, self.progress.done, self._batcher.busy_s
