"""The device's side of the stream: batches that fill across claims, embedded one after the other."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from siglip_ingest.errors import ImageError
from siglip_workers.device import DeviceError
from siglip_workers.ingest.contents import Contents
from siglip_workers.ingest.stage_queue import StageQueue
from siglip_workers.ingest.work import Embedded, Finished, PreparedImage
from siglip_workers.threads import make_thread

if TYPE_CHECKING:
    from siglip_workers.device import Device

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.25  # an image waits so long for its batch to fill, while the device has nothing else to do
BATCHES_AHEAD = 3


class Batcher:
    """Embeds what is ready, in a thread.

    Args:
        device: Embeds.
        contents: What is in the stream.
        finish: Takes the results.
        is_more_coming: Whether a batch may fill further.
        stop_worker: Called where the device gives no results any more.
    """

    def __init__(
        self,
        device: Device,
        contents: Contents,
        finish: Callable[[Sequence[Finished]], None],
        is_more_coming: Callable[[], bool],
        stop_worker: Callable[[], None],
    ) -> None:
        self._device = device
        self._contents = contents
        self._finish = finish
        self._is_more_coming = is_more_coming
        self._stop_worker = stop_worker
        self._ready: StageQueue[PreparedImage] = StageQueue(BATCHES_AHEAD * device.max_batch_size)
        self._thread = make_thread("batcher", self._run)
        self.busy_s = 0.0
        self.busy_since: float | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, image: PreparedImage) -> None:
        """Take an image in; waits while enough are ready."""
        self._ready.put([image])

    def look(self) -> None:
        """Look again whether a batch is due."""
        self._ready.look()

    def close(self) -> None:
        """End after the batch that is on the device, and drop the others."""
        self._ready.close()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._ready.take_batch(lambda: self._device.batch_size, MAX_WAIT_S, self._is_more_coming):
            self.busy_since = started = time.monotonic()
            results = self._embed(batch)
            self.busy_s += time.monotonic() - started
            self.busy_since = None
            finished: list[Finished] = []
            for image, result in zip(batch, results, strict=True):
                finished += self._contents.end(image.content_hash, result)
            self._finish(finished)
            if all(isinstance(result, ImageError) for result in results):
                self._check_device()

    def _embed(self, batch: Sequence[PreparedImage]) -> list[Embedded | ImageError]:
        """Embed a batch; where that fails, one by one, so that only the image at fault fails."""
        try:
            embeddings = self._device.embed_pixels([image.pixels for image in batch])
        except Exception as error:  # noqa: BLE001  # a device can throw anything; the ledger keeps the reason
            reason = f"{type(error).__name__}: {error}"
            if len(batch) == 1:
                return [ImageError(f"The model failed: {reason}", code="embedding_failed", is_retryable=True)]
            logger.warning("A batch of %d images failed, trying them one by one: %s", len(batch), reason)
            return [result for image in batch for result in self._embed([image])]
        return [Embedded(image.size, embedding) for image, embedding in zip(batch, embeddings, strict=True)]

    def _check_device(self) -> None:
        """Where a whole batch failed on the device, find out whether it is the device."""
        try:
            self._device.check()
        except DeviceError as error:
            logger.error("%s The worker stops, to be started again.", error)  # noqa: TRY400  # the sentence says it all
            self._stop_worker()
