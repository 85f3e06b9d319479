"""The way of one chunk: fetch, decode, resize in threads; embed in full batches; write in one transaction.

While the device works on one batch, the threads prepare the next; two chunks overlap, so that the device doesn't
wait at the end of one either.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from uuid import UUID

from siglip_ingest.db import Database, images, items
from siglip_ingest.errors import ImageError, NotFoundError
from siglip_ingest.preprocess.budget import PixelBudget
from siglip_ingest.preprocess.image import hold_decoded_image
from siglip_ingest.settings import Settings
from siglip_ingest.sources import SourcePolicy, fetch, hide_secrets
from siglip_workers.device import Device
from siglip_workers.leases import Lease, LeaseKeeper
from siglip_workers.outages import retry_through_outages
from siglip_workers.outcome import Outcome, PreparedImage, write_outcome

logger = logging.getLogger(__name__)

MAX_DECODE_THREADS = 8


class Pipeline:
    """Embeds chunks for one model. Thread-safe: two chunks at once keep the device busy."""

    def __init__(self, database: Database, device: Device, model_id: int, settings: Settings, cores: int) -> None:
        self._database = database
        self._device = device
        self._model_id = model_id
        self._settings = settings
        self._policy = SourcePolicy.from_settings(settings)
        self._budget = PixelBudget(settings.max_decoding_pixels)
        self._leases = LeaseKeeper(database, settings.lease_s)
        self._threads = ThreadPoolExecutor(
            settings.decode_threads or min(MAX_DECODE_THREADS, cores), thread_name_prefix="decode"
        )
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let chunks in work finish the batch they are at and hand back the rest."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and end the threads."""
        self.stop()
        self._threads.shutdown(cancel_futures=True)
        self._leases.close()

    def embed_chunk(self, lease_token: UUID, item_ids: Sequence[int]) -> None:
        """Embed the items that are still claimed under a lease, and close them in the ledger.

        Raises:
            DatabaseError: If PostgreSQL stays away for longer than the lease; then the items go back to the queue by
                themselves.
            DeviceError: If the device gives no results any more, for any picture.
        """
        started = time.perf_counter()
        with self._leases.hold(lease_token) as lease:
            if lease is None:
                return  # the same message, delivered twice: another thread is at it
            with self._database.connection() as connection:
                claimed = items.load_items(connection, lease_token, item_ids)
            outcome = self._embed(claimed, lease)
            if lease.is_lost:
                logger.warning("A chunk of %d images took so long that its lease was lost.", len(claimed))
                return
            closed = retry_through_outages(
                lambda: write_outcome(
                    self._database, self._model_id, lease_token, outcome, self._settings.max_attempts
                ),
                patience_s=self._settings.lease_s,
            )
        for item, error in outcome.failures:
            logger.warning("%s: %s [%s]", hide_secrets(item.uri), error, error.code)
        if closed:
            elapsed_s = time.perf_counter() - started
            logger.info("Embedded %d images in %.2f s (%.1f images/s).", closed, elapsed_s, closed / elapsed_s)
        if outcome.rejected and not outcome.embeddings:
            self._device.check()

    def _embed(self, claimed: Sequence[items.ItemRow], lease: Lease) -> Outcome:
        """Prepare all items in threads, and embed each full batch as soon as there is one."""
        outcome = Outcome(claimed)
        waiting: dict[bytes, PreparedImage] = {}
        futures = {self._threads.submit(self._prepare, item): item for item in claimed}
        try:
            for future in self._as_completed(futures, lease):
                lease.touch()
                try:
                    image = future.result()
                except ImageError as error:
                    outcome.unprepared.append((futures[future], error))
                    continue
                outcome.prepared.append(image)
                if image.content_hash not in outcome.embeddings and image.content_hash not in outcome.rejected:
                    waiting.setdefault(image.content_hash, image)
                if len(waiting) >= self._device.batch_size:
                    self._leave_out_embedded(waiting, outcome)
                if len(waiting) >= self._device.batch_size:
                    self._embed_batch(list(waiting.values()), outcome)
                    waiting.clear()
            if waiting and not self._is_over(lease):
                self._leave_out_embedded(waiting, outcome)
                self._embed_batch(list(waiting.values()), outcome)
        finally:
            for future in futures:
                future.cancel()
        return outcome

    def _as_completed(
        self, futures: dict[Future[PreparedImage], items.ItemRow], lease: Lease
    ) -> Iterator[Future[PreparedImage]]:
        for future in as_completed(futures):
            if self._is_over(lease):
                return
            yield future

    def _is_over(self, lease: Lease) -> bool:
        return self._stopping.is_set() or lease.is_lost

    def _prepare(self, item: items.ItemRow) -> PreparedImage:
        """Fetch, decode and resize one picture, in a thread: a huge picture is small again when it leaves it."""
        if self._stopping.is_set():
            raise ImageError("The worker stops.", code="stopping", is_retryable=True)
        try:
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
                )
        except ImageError:
            raise
        except NotFoundError as error:
            raise ImageError(str(error), code="not_found") from error
        except Exception as error:  # one picture's trouble, whatever it is, must not take the chunk along
            logger.exception("%s can't be prepared.", hide_secrets(item.uri))  # what it says may quote the image
            message = f"The image can't be prepared: {type(error).__name__}. The worker's log says more."
            raise ImageError(message, code="unexpected_error", is_retryable=True) from error

    def _fetch(self, item: items.ItemRow) -> bytes:
        max_image_bytes = self._settings.max_image_bytes
        if item.has_content:
            with self._database.connection() as connection:
                return images.load_content(connection, item.image_id, max_image_bytes=max_image_bytes)
        timeout_s = self._settings.fetch_timeout_s
        return fetch(item.uri, max_image_bytes=max_image_bytes, timeout_s=timeout_s, policy=self._policy)

    def _leave_out_embedded(self, waiting: dict[bytes, PreparedImage], outcome: Outcome) -> None:
        """Take out the contents whose vectors the database has already: the same picture at another address."""
        with self._database.connection() as connection:
            known = items.find_embedded(connection, self._model_id, list(waiting))
        for content_hash in known:
            del waiting[content_hash]
            outcome.embeddings[content_hash] = None

    def _embed_batch(self, batch: Sequence[PreparedImage], outcome: Outcome) -> None:
        """Embed a batch; where that fails, one by one, so that only the picture at fault fails."""
        if not batch:
            return
        try:
            embeddings = self._device.embed_pixels([image.pixels for image in batch])
        except Exception as error:  # noqa: BLE001  # a device can throw anything; the ledger keeps the reason
            if len(batch) > 1:
                logger.warning(
                    "A batch of %d images failed, trying them one by one: %s: %s",
                    len(batch),
                    type(error).__name__,
                    error,
                )
                for image in batch:
                    self._embed_batch([image], outcome)
                return
            reason = ImageError(
                f"The model failed: {type(error).__name__}: {error}", code="embedding_failed", is_retryable=True
            )
            outcome.rejected[batch[0].content_hash] = reason
            return
        for image, embedding in zip(batch, embeddings, strict=True):
            outcome.embeddings[image.content_hash] = embedding
