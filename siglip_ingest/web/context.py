"""What the routes share: the client, the caches, and who asks."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from siglip_ingest.client import SiglipClient
from siglip_ingest.file_cache import FileCache
from siglip_ingest.siglip.preprocess.budget import PixelBudget
from siglip_ingest.thumbnails import make_thumbnail, thumbnail_name
from siglip_ingest.web.results import ResultLists

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UPLOADS_BYTES = 200_000_000
KEPT_VECTORS = 256


class VectorCache:
    """The vectors of the images that were searched by last, by (model_id, upload_id). Thread-safe."""

    def __init__(self) -> None:
        self._vectors: OrderedDict[tuple[int, str], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[int, str], make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """A (D,) unit vector, which is made where it isn't kept."""
        with self._lock:
            found = self._vectors.get(key)
        if found is None:
            found = make()
        with self._lock:
            self._vectors[key] = found
            self._vectors.move_to_end(key)
            while len(self._vectors) > KEPT_VECTORS:
                self._vectors.popitem(last=False)
        return found


class Context:
    """What the routes of one application share.

    Args:
        client: Does the work.
    """

    def __init__(self, client: SiglipClient) -> None:
        self.client = client
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
