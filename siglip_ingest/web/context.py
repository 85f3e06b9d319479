"""What the routes share: the client, the caches, and who asks."""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

from fastapi import Depends, Request

from siglip_ingest.client import SiglipClient
from siglip_ingest.file_cache import FileCache
from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.thumbnails import make_thumbnail, thumbnail_name
from siglip_ingest.web.keys import KeyRing
from siglip_ingest.web.results import ResultLists

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

UPLOADS_BYTES = 200_000_000
KEPT_VECTORS = 256
READINESS_S = 1.0  # anybody may ask: the database is asked no more often


class VectorCache:
    """The vectors of the images that were searched by last, by (model_id, upload_id). Thread-safe.

    Attributes:
        hits: How often a vector was there.
        misses: How often it wasn't.
    """

    def __init__(self) -> None:
        self._vectors: OrderedDict[tuple[int, str], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()
        self.hits = self.misses = 0

    def get(self, key: tuple[int, str], make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """A (D,) unit vector, which is made where it isn't kept."""
        with self._lock:
            found = self._vectors.get(key)
            self.hits += found is not None
            self.misses += found is None
        if found is None:
            found = make()
        with self._lock:
            self._vectors[key] = found
            self._vectors.move_to_end(key)
            while len(self._vectors) > KEPT_VECTORS:
                self._vectors.popitem(last=False)
        return found


class Kept(Generic[T]):
    """A value that is found out again when it is older than some seconds, by one caller at a time. Thread-safe.

    Meanwhile others get the old value; the first ones wait.
    """

    def __init__(self, find: Callable[[], T], seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._lock = threading.Lock()
        self._found: tuple[float, T] | None = None

    def get(self) -> T:
        """The value; raises what finding it out raises."""
        found = self._found
        if found is not None and time.monotonic() - found[0] <= self._seconds:
            return found[1]
        if not self._lock.acquire(blocking=found is None):
            assert found is not None  # noqa: S101  # else it was waited for
            return found[1]
        try:
            if self._found is None or self._found is found:
                value = self._find()
                self._found = time.monotonic(), value
            return self._found[1]
        finally:
            self._lock.release()


class Context:
    """What the routes of one application share.

    Args:
        client: Does the work.
        ring: Knows the keys; None where none are needed.
    """

    def __init__(self, client: SiglipClient, ring: KeyRing | None = None) -> None:
        self.client = client
        self.ring = ring
        self.settings = client.settings
        home = client.settings.home
        self._temporary = tempfile.TemporaryDirectory(prefix="siglip-web-") if home is None else None
        folder = Path(self._temporary.name) if self._temporary else home
        assert folder is not None  # noqa: S101  # one of the two is
        self.thumbnails = FileCache(folder / "thumbnails", client.settings.thumbnail_cache_bytes)
        self.uploads = FileCache(folder / "uploads", UPLOADS_BYTES)
        self.pixels = PixelBudget(client.settings.max_decoding_pixels)
        self.lists = ResultLists()
        self.vectors = VectorCache()
        self.readiness = Kept(client.check_readiness, READINESS_S)

    def get_thumbnail(self, source: str, size: int, read: Callable[[], bytes]) -> bytes:
        """A thumbnail from the cache, or made of what `read` reads.

        Args:
            source: Tells the image, and its version, from every other.
            size: Most pixels on the longer side.
            read: Reads the image's file.

        Raises:
            ImageError: If it can't be read, or isn't an image.
        """
        limits = self.settings.image_limits
        return self.thumbnails.get(
            thumbnail_name(source, size), lambda: make_thumbnail(read(), size, limits, self.pixels)
        )

    def close(self) -> None:
        """Remove what was kept for this application only."""
        if self._temporary is not None:
            self._temporary.cleanup()


def get_context(request: Request) -> Context:
    """The application's context."""
    context = request.app.state.context
    assert isinstance(context, Context)  # noqa: S101  # `create_app` puts it there
    return context


InContext = Annotated[Context, Depends(get_context)]


def name_of_content(content: bytes) -> str:
    """The name under which an upload is kept: its SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()
