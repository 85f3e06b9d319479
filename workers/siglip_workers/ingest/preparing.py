"""The first half of the stream: fetch, find what is embedded already, decode and resize.

Local files are read by a few threads, everything else over many connections. A content that the database or the stream
has is not decoded. The bytes that wait are bounded, and so are the pixels that are decoded at a time.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from siglip_ingest.db import Database, images, items
from siglip_ingest.errors import DatabaseError, ImageError, NotFoundError
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.siglip.preprocess.exif import read_exif
from siglip_ingest.siglip.preprocess.image import hold_decoded_image
from siglip_ingest.sources import SourcePolicy, fetch, hide_secrets
from siglip_workers.ingest.contents import Contents
from siglip_workers.ingest.stage_queue import StageQueue
from siglip_workers.ingest.work import Embedded, FetchedImage, Finished, PreparedImage, Work
from siglip_workers.outages import retry_through_outages
from siglip_workers.threads import make_thread

if TYPE_CHECKING:
    from siglip_workers.device import Device

logger = logging.getLogger(__name__)

MAX_DECODE_THREADS = 16
FILE_THREADS = 2
MAX_WAITING_IMAGES = 64
MAX_WAITING_BYTES = 64_000_000
LOOKED_UP_AT_ONCE = 256
OUTAGE_PATIENCE_S = 120.0  # an image whose bytes PostgreSQL has waits so long for it to come back


class Preparer:
    """Turns items into images that are ready for the device, in threads.

    Args:
        database: Has the bytes of images that were given as bytes, and knows what is embedded.
        device: Resizes.
        model_id: The model on the device.
        settings: The worker's.
        cores: As many threads decode, if the settings don't say how many.
        contents: What is in the stream.
        finish: Takes what needs no device any more.
        pass_on: Takes what does.
        end_preparing: Told how many items are no longer being prepared, whatever became of them.
    """

    def __init__(
        self,
        database: Database,
        device: Device,
        model_id: int,
        settings: Settings,
        cores: int,
        contents: Contents,
        finish: Callable[[Sequence[Finished]], None],
        pass_on: Callable[[PreparedImage], None],
        end_preparing: Callable[[int], None],
    ) -> None:
        self._database = database
        self._device = device
        self._model_id = model_id
        self._settings = settings
        self._policy = SourcePolicy.for_worker(settings)
        self._budget = PixelBudget(settings.max_decoding_pixels)
        self._contents = contents
        self._finish = finish
        self._pass_on = pass_on
        self._end_preparing = end_preparing
        self._files: StageQueue[Work] = StageQueue(1 << 30)  # bounded by what is claimed
        self._remote: StageQueue[Work] = StageQueue(1 << 30)
        self._fetched = _queue_of_bytes()
        self._to_decode = _queue_of_bytes()
        self._is_closing = False
        self._busy: dict[int, tuple[float, Work]] = {}  # by thread: since when it has what
        decode_threads = settings.decode_threads or min(MAX_DECODE_THREADS, cores)
        self._threads = [
            *(make_thread(f"file-{n}", lambda: self._fetch_from(self._files)) for n in range(FILE_THREADS)),
            *(make_thread(f"fetch-{n}", lambda: self._fetch_from(self._remote)) for n in range(settings.connections)),
            make_thread("lookup", self._look_up),
            *(make_thread(f"decode-{n}", self._decode) for n in range(decode_threads)),
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def put(self, works: Sequence[Work]) -> None:
        """Take items in."""
        self._files.put(work for work in works if _is_file(work))
        self._remote.put(work for work in works if not _is_file(work))

    def close(self) -> None:
        """Drop what waits, and let the threads end; one that hangs is left behind."""
        self._is_closing = True
        for queue in (self._files, self._remote, self._fetched, self._to_decode):
            queue.close()

    def find_stalled(self, after_s: float) -> list[Work]:
        """Items that a thread has had for longer than that: it hangs in a file system, say, or in a decoder."""
        started_before = time.monotonic() - after_s
        return [work for since, work in list(self._busy.values()) if since < started_before]

    def _fetch_from(self, queue: StageQueue[Work]) -> None:
        while taken := queue.take(1):
            (work,) = taken
            self._busy[threading.get_ident()] = time.monotonic(), work
            try:
                content = self._fetch(work.item)
                if work.item.reads_exif:
                    work = work._replace(metadata=read_exif(content))
                fetched = FetchedImage(work, content, hashlib.sha256(content).digest())
            except Exception as error:  # noqa: BLE001  # one image's trouble must not take others along
                self._finish([Finished(work, None, _to_image_error(error, work))])
                self._end_preparing(1)
                continue
            finally:
                del self._busy[threading.get_ident()]
            self._fetched.put([fetched])
            del content, fetched  # the queue bounds how many bytes there are

    def _fetch(self, item: items.ItemRow) -> bytes:
        if item.has_content:
            return retry_through_outages(
                lambda: self._load(item.image_id), patience_s=OUTAGE_PATIENCE_S, is_ending=lambda: self._is_closing
            )
        return fetch(
            item.uri,
            max_image_bytes=self._settings.max_image_bytes,
            timeout_s=self._settings.fetch_timeout_s,
            policy=self._policy,
            version=item.source_version,
        )

    def _load(self, image_id: int) -> bytes:
        with self._database.connection() as connection:
            return images.load_content(connection, image_id, max_image_bytes=self._settings.max_image_bytes)

    def _look_up(self) -> None:
        """Find what needs no decoding, many at a time."""
        while fetched := self._fetched.take(LOOKED_UP_AT_ONCE):
            new, finished = self._contents.add(fetched)
            embedded = self._find_embedded([image.content_hash for image in new])
            for content_hash in embedded:
                finished += self._contents.end(content_hash, Embedded())
            self._finish(finished)
            to_decode = [image for image in new if image.content_hash not in embedded]
            self._end_preparing(len(fetched) - len(to_decode))
            del fetched, new
            self._to_decode.put(to_decode)
            del to_decode

    def _find_embedded(self, content_hashes: Sequence[bytes]) -> set[bytes]:
        """Those contents whose vectors the database has already: the same image at another address."""
        try:
            with self._database.connection() as connection:
                return items.find_embedded(connection, self._model_id, content_hashes)
        except DatabaseError:
            return set()  # then it is embedded once more; writing its vector waits until PostgreSQL is back

    def _decode(self) -> None:
        while taken := self._to_decode.take(1):
            ((work, content, content_hash),) = taken
            self._busy[threading.get_ident()] = time.monotonic(), work
            prepared: PreparedImage | ImageError
            try:
                prepared = self._prepare(content, content_hash)
            except Exception as error:  # noqa: BLE001  # as above
                prepared = _to_image_error(error, work)
            finally:
                del self._busy[threading.get_ident()]
            if isinstance(prepared, ImageError):
                self._finish(self._contents.end(content_hash, prepared))
            else:
                self._pass_on(prepared)  # waits while the device has enough to do
            self._end_preparing(1)
            del taken, content, prepared

    def _prepare(self, content: bytes, content_hash: bytes) -> PreparedImage:
        """Decode and resize one image: a huge one is small again when it leaves its thread."""
        with hold_decoded_image(
            content,
            max_image_pixels=self._settings.max_image_pixels,
            budget=self._budget,
            choose_size=self._device.choose_size if self._settings.jpeg_decoding == "reduced" else None,
        ) as decoded:
            size = decoded.width, decoded.height, decoded.format
            return PreparedImage(content_hash, size, self._device.prepare_image(decoded.image))


def _queue_of_bytes() -> StageQueue[FetchedImage]:
    return StageQueue(MAX_WAITING_IMAGES, max_weight=MAX_WAITING_BYTES, weigh=lambda image: len(image.content))


def _is_file(work: Work) -> bool:
    return work.item.uri.startswith("file:") and not work.item.has_content


def _to_image_error(error: Exception, work: Work) -> ImageError:
    if isinstance(error, ImageError):
        return error
    if isinstance(error, NotFoundError):
        return ImageError(str(error), code="not_found")
    if isinstance(error, DatabaseError):
        return ImageError(f"The image's bytes can't be read now: {error}", code="fetch_failed", is_retryable=True)
    logger.error("%s can't be prepared.", hide_secrets(work.item.uri), exc_info=error)  # what it says may quote it
    message = f"The image can't be prepared: {type(error).__name__}. The worker's log says more."
    return ImageError(message, code="unexpected_error", is_retryable=True)
