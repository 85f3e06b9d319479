"""The contents that are in the stream: an image that comes twice is decoded and embedded once."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from siglip_ingest.errors import ImageError
from siglip_workers.ingest.work import Embedded, FetchedImage, Finished, Work


@dataclass(slots=True)
class _Content:
    """Who waits for a content, and its result once that is known."""

    waiting: list[Work] = field(default_factory=list)
    result: Embedded | ImageError | None = None


class Contents:
    """The contents from the time that they are fetched until their results are written. Thread-safe."""

    def __init__(self) -> None:
        self._contents: dict[bytes, _Content] = {}
        self._lock = threading.Lock()

    def add(self, fetched: Iterable[FetchedImage]) -> tuple[list[FetchedImage], list[Finished]]:
        """Take fetched images in.

        Returns:
            Those whose content the stream didn't have, and what is known already of the others. What is in neither
            waits for the result of the one before it.
        """
        new, finished = [], []
        with self._lock:
            for image in fetched:
                known = self._contents.get(image.content_hash)
                if known is None:
                    self._contents[image.content_hash] = _Content([image.work])
                    new.append(image)
                elif known.result is None:
                    known.waiting.append(image.work)
                else:
                    finished.append(Finished(image.work, image.content_hash, known.result))
        return new, finished

    def end(self, content_hash: bytes, result: Embedded | ImageError) -> list[Finished]:
        """Note a content's result; returns what became of all items that waited for it."""
        with self._lock:
            content = self._contents[content_hash]
            content.result = result
            waiting, content.waiting = content.waiting, []
        return [Finished(work, content_hash, result) for work in waiting]

    def forget(self, finished: Iterable[Finished]) -> None:
        """Let go of contents whose results are written: from now on the database knows them."""
        with self._lock:
            for _, content_hash, result in finished:
                content = self._contents.get(content_hash or b"")
                if content is not None and content.result is result:  # else the same content is in the stream once more
                    del self._contents[content_hash or b""]
