"""The device's side of the stream: batches that fill across claims, embedded one after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from siglip_ingest.errors import ImageError
from siglip_workers.device import DeviceError
from siglip_workers.ingest.contents import Contents
from siglip_workers.ingest.stage_queue import StageQueue
from siglip_workers.ingest.work import Embedded, Finished, PreparedImage
from siglip_workers.threads import make_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from siglip_ingest.siglip.inference.staging import StagedPixels
    from siglip_workers.device import Device

logger = logging.getLogger(__name__)

MAX_WAIT_S = 0.25  # an image waits so long for its batch to fill, while the device has nothing else to do
BATCHES_AHEAD = 3
CLOSE_S = 30.0


class _Batch(NamedTuple):
    """Images, and their pixels as the device takes them."""

    images: Sequence[PreparedImage]
    pixels: StagedPixels | Sequence[NDArray[np.uint8]]


class Batcher:
    """Embeds what is ready. One thread gathers a batch, another one embeds.

    A device with a memory of its own gets the next batch while it computes one; for others it fills meanwhile.

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
        self._gathered: StageQueue[_Batch] = StageQueue(1)
        self._turns = threading.Semaphore(2 if device.takes_batches_ahead else 1)
        self._threads = [make_thread("gather", self._gather), make_thread("embed", self._run)]
        self.busy_s = 0.0
        self.busy_since: float | None = None  # the batch on the device
        self.staging_since: float | None = None  # the next one, on its way there

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def put(self, image: PreparedImage) -> None:
        """Take an image in; waits while enough are ready."""
        self._ready.put([image])

    def look(self) -> None:
        """Look again whether a batch is due."""
        self._ready.look()

    def close(self) -> None:
        """End after the batch that is on the device, and drop the others."""
        self._ready.close()
        self._gathered.close()
        self._turns.release(2)
        for thread in self._threads:
            thread.join(CLOSE_S)  # a device that hangs is left behind

    def _gather(self) -> None:
        while True:
            self._turns.acquire()
            images = self._ready.take_batch(lambda: self._device.batch_size, MAX_WAIT_S, self._is_more_coming)
            if not images:
                return
            self._gathered.put([_Batch(images, self._stage([image.pixels for image in images]))])

    def _stage(self, pixels: Sequence[NDArray[np.uint8]]) -> StagedPixels | Sequence[NDArray[np.uint8]]:
        if self._device.takes_batches_ahead:
            self.staging_since = time.monotonic()
            with suppress(Exception):  # its memory is full, say: embedding it says so, or makes smaller batches
                pixels = self._device.stage_pixels(pixels)  # type: ignore[assignment]
            self.staging_since = None
        return pixels

    def _run(self) -> None:
        while gathered := self._gathered.take(1):
            (batch,) = gathered
            del gathered
            self.busy_since = started = time.monotonic()
            results = self._embed(batch)
            self.busy_s += time.monotonic() - started
            self.busy_since = None
            self._turns.release()
            finished: list[Finished] = []
            for image, result in zip(batch.images, results, strict=True):
                finished += self._contents.end(image.content_hash, result)
            self._finish(finished)
            if all(isinstance(result, ImageError) for result in results):
                self._check_device()

    def _embed(self, batch: _Batch) -> list[Embedded | ImageError]:
        """Embed a batch; where that fails, one by one, so that only the image at fault fails."""
        try:
            embeddings = self._device.embed_pixels(batch.pixels)
        except Exception as error:  # noqa: BLE001  # a device can throw anything; the ledger keeps the reason
            reason = f"{type(error).__name__}: {error}"
            if len(batch.images) == 1:
                return [ImageError(f"The model failed: {reason}", code="embedding_failed", is_retryable=True)]
            logger.warning("A batch of %d images failed, trying them one by one: %s", len(batch.images), reason)
            return [result for image in batch.images for result in self._embed(_Batch([image], [image.pixels]))]
        return [Embedded(image.size, embedding) for image, embedding in zip(batch.images, embeddings, strict=True)]

    def _check_device(self) -> None:
        """Where a whole batch failed on the device, find out whether it is the device."""
        try:
            self._device.check()
        except DeviceError as error:
            logger.error("%s The worker stops, to be started again.", error)  # noqa: TRY400  # the sentence says it all
            self._stop_worker()
