"""The stream that all tickets of a worker feed: fetch, decode and resize in threads, embed in batches.

Batches fill across tickets. While the device works on one batch, the threads prepare the next; a batch waits for its
last images only for as long as more are on their way.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from siglip_ingest.db import Database, images, items
from siglip_ingest.errors import DatabaseError, ImageError, NotFoundError, SiglipError
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.siglip.preprocess.exif import read_exif
from siglip_ingest.siglip.preprocess.image import hold_decoded_image
from siglip_ingest.sources import SourcePolicy, fetch, hide_secrets
from siglip_workers.device import Device
from siglip_workers.ingest.outcome import Outcome, PreparedImage
from siglip_workers.threads import make_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

MAX_DECODE_THREADS = 8
MAX_WAIT_S = 0.25  # an image waits so long for its batch to fill, while the device has nothing else to do
RECENT_CONTENTS = 1024
STALL_S = 900.0  # work that hasn't moved for so long doesn't move any more
_LOOK_S = 1.0


class StalledError(SiglipError):
    """A thread hangs, in a file system or a decoder: this process must end, and another may have more luck."""


class _Collector:
    """Gathers what becomes of one ticket's items."""

    def __init__(self, claimed: Sequence[items.ItemRow]) -> None:
        self.outcome = Outcome(claimed)
        self.moved_at = time.monotonic()
        self._open = len(claimed)
        self._is_closed = False
        self._changed = threading.Condition()

    def reject(self, item: items.ItemRow, error: ImageError) -> None:
        """An item could not be fetched or decoded."""
        with self._changed:
            if not self._is_closed:
                self.outcome.unprepared.append((item, error))
            self._end_one()

    def take(self, image: PreparedImage, result: object) -> None:
        """A decoded image has its vector (None: the database has it), or the model failed on it."""
        with self._changed:
            if not self._is_closed:
                self.outcome.prepared.append(image)
                if isinstance(result, ImageError):
                    self.outcome.rejected[image.content_hash] = result
                else:
                    self.outcome.embeddings[image.content_hash] = result  # type: ignore[assignment]  # a vector or None
            self._end_one()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the last item; True once it has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, timeout_s)

    def close(self) -> Outcome:
        """Take nothing more; returns what there is."""
        with self._changed:
            self._is_closed = True
            return self.outcome

    def _end_one(self) -> None:
        self._open -= 1
        self.moved_at = time.monotonic()
        self._changed.notify_all()


class _Waiting(NamedTuple):
    """A prepared image on its way to the device."""

    image: PreparedImage
    collector: _Collector
    since: float


class Stream:
    """Embeds images for one model. Thread-safe: two tickets at once keep the device busy."""

    def __init__(self, database: Database, device: Device, model_id: int, settings: Settings, cores: int) -> None:
        self._database = database
        self._device = device
        self._model_id = model_id
        self._settings = settings
        self._policy = SourcePolicy.for_worker(settings)
        self._budget = PixelBudget(settings.max_decoding_pixels)
        self._threads = ThreadPoolExecutor(
            settings.decode_threads or min(MAX_DECODE_THREADS, cores), thread_name_prefix="decode"
        )
        self._preparing = 0
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._recent: dict[bytes, NDArray[np.float32]] = {}  # the batcher's own
        self._is_stopping = False
        self._batcher = make_thread("batcher", self._embed_batches)
        self._batcher.start()

    def stop(self) -> None:
        """Finish the batch that is on the device, and leave the rest. Sets a flag only: for signal handlers."""
        self._is_stopping = True

    def close(self) -> None:
        """Stop, and end the threads; one that hangs is left behind."""
        self.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._batcher.join()

    def embed(self, claimed: Sequence[items.ItemRow]) -> Outcome:
        """Embed the items of one claim, and wait for the last of them.

        Returns:
            What became of them; items that a stop left undone are missing from it.

        Raises:
            StalledError: If nothing has moved for `STALL_S`.
        """
        collector = _Collector(claimed)
        with self._changed:
            self._preparing += len(claimed)
        for item in claimed:
            self._threads.submit(self._prepare_for, item, collector)
        while not collector.wait(_LOOK_S):
            if self._is_stopping:
                break
            if time.monotonic() - collector.moved_at > STALL_S:
                raise StalledError(f"A chunk of {len(claimed)} images hasn't moved for {STALL_S:.0f} s.")
        return collector.close()

    def _prepare_for(self, item: items.ItemRow, collector: _Collector) -> None:
        """Prepare one image, in a thread, and hand it to the batcher."""
        image = None
        try:
            if not self._is_stopping:
                image = self._prepare(item)
        except ImageError as error:
            collector.reject(item, error)
        except NotFoundError as error:
            collector.reject(item, ImageError(str(error), code="not_found"))
        except Exception as error:  # one image's trouble, whatever it is, must not take others along
            logger.exception("%s can't be prepared.", hide_secrets(item.uri))  # what it says may quote the image
            message = f"The image can't be prepared: {type(error).__name__}. The worker's log says more."
            collector.reject(item, ImageError(message, code="unexpected_error", is_retryable=True))
        finally:
            with self._changed:
                self._preparing -= 1
                if image is not None:
                    self._waiting.append(_Waiting(image, collector, time.monotonic()))
                self._changed.notify_all()

    def _prepare(self, item: items.ItemRow) -> PreparedImage:
        """Fetch, decode and resize one image: a huge one is small again when it leaves its thread."""
        content = self._fetch(item)
        max_image_pixels = self._settings.max_image_pixels
        with hold_decoded_image(content, max_image_pixels=max_image_pixels, budget=self._budget) as decoded:
            return PreparedImage(
                item=item,
                content_hash=hashlib.sha256(content).digest(),
                width=decoded.width,
                height=decoded.height,
                format=decoded.format,
                pixels=self._device.prepare_image(decoded.image),
                metadata=read_exif(content) if item.reads_exif else None,
            )

    def _fetch(self, item: items.ItemRow) -> bytes:
        max_image_bytes = self._settings.max_image_bytes
        if item.has_content:
            with self._database.connection() as connection:
                return images.load_content(connection, item.image_id, max_image_bytes=max_image_bytes)
        timeout_s = self._settings.fetch_timeout_s
        return fetch(
            item.uri,
            max_image_bytes=max_image_bytes,
            timeout_s=timeout_s,
            policy=self._policy,
            version=item.source_version,
        )

    def _embed_batches(self) -> None:
        while not self._is_stopping:
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopping or self._is_due(), timeout=MAX_WAIT_S / 4)
                if self._is_stopping or not self._is_due():
                    continue
                batch = self._take_batch()
            self._embed_batch(batch)

    def _is_due(self) -> bool:
        """Whether the next batch is full, or has waited long enough for what is being prepared."""
        if not self._waiting:
            return False
        return (
            len(self._waiting) >= self._device.batch_size
            or self._preparing == 0
            or time.monotonic() - self._waiting[0].since >= MAX_WAIT_S
        )

    def _take_batch(self) -> dict[bytes, list[_Waiting]]:
        """Take a batch of different contents out, and with each the items that wait for the same."""
        size = self._device.batch_size
        batch: dict[bytes, list[_Waiting]] = {}
        left = []
        for waiting in self._waiting:
            content_hash = waiting.image.content_hash
            if content_hash in batch or len(batch) < size:
                batch.setdefault(content_hash, []).append(waiting)
            else:
                left.append(waiting)
        self._waiting = left
        return batch

    def _embed_batch(self, batch: dict[bytes, list[_Waiting]]) -> None:
        known = self._find_embedded(list(batch))
        results: dict[bytes, object] = dict.fromkeys(known)
        results.update({key: self._recent[key] for key in batch if key in self._recent and key not in known})
        self._embed_contents({key: waiting[0].image for key, waiting in batch.items() if key not in results}, results)
        for content_hash, waiters in batch.items():
            for waiting in waiters:
                waiting.collector.take(waiting.image, results[content_hash])

    def _find_embedded(self, content_hashes: list[bytes]) -> set[bytes]:
        """Those contents whose vectors the database has already: the same image at another address."""
        try:
            with self._database.connection() as connection:
                return items.find_embedded(connection, self._model_id, content_hashes)
        except DatabaseError:
            return set()  # then it is embedded once more; writing the outcome waits until PostgreSQL is back

    def _embed_contents(self, contents: dict[bytes, PreparedImage], results: dict[bytes, object]) -> None:
        """Embed a batch; where that fails, one by one, so that only the image at fault fails."""
        if not contents:
            return
        try:
            embeddings = self._device.embed_pixels([image.pixels for image in contents.values()])
        except Exception as error:  # noqa: BLE001  # a device can throw anything; the ledger keeps the reason
            if len(contents) > 1:
                logger.warning(
                    "A batch of %d images failed, trying them one by one: %s: %s",
                    len(contents),
                    type(error).__name__,
                    error,
                )
                for content_hash, image in contents.items():
                    self._embed_contents({content_hash: image}, results)
                return
            (content_hash,) = contents
            results[content_hash] = ImageError(
                f"The model failed: {type(error).__name__}: {error}", code="embedding_failed", is_retryable=True
            )
            return
        results.update(zip(contents, embeddings, strict=True))
        self._remember(dict(zip(contents, embeddings, strict=True)))

    def _remember(self, embeddings: dict[bytes, NDArray[np.float32]]) -> None:
        """Keep the last vectors: the same image may come again before the database has its vector."""
        self._recent.update(embeddings)
        while len(self._recent) > RECENT_CONTENTS:
            del self._recent[next(iter(self._recent))]
