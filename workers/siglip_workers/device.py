"""Shares the device: queries go before batches of images."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from PIL import Image

from siglip_ingest.errors import SiglipError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from siglip_ingest.siglip.embedder import TorchEmbedder
    from siglip_ingest.siglip.inference.staging import StagedPixels
    from siglip_ingest.types import LocatedText, ModelInfo

MAX_BATCH_S = 0.5  # a query waits for the batch that is on the device
FIRST_BATCH_SIZE = 8  # until it is known how fast the device is
MAX_DEFERENCE_S = 2.0  # even a steady stream of queries doesn't stop the images


class DeviceError(SiglipError):
    """The device gives no results any more: this process must end, and another may have more luck."""


class Device:
    """An embedder that two kinds of callers share: queries and images. Thread-safe."""

    def __init__(self, embedder: TorchEmbedder) -> None:
        self._embedder = embedder
        self._images = threading.Lock()
        self._queries = 0
        self._image_s = 0.0
        self._changed = threading.Condition()

    @property
    def info(self) -> ModelInfo:
        """The model that is loaded."""
        return self._embedder.info

    @property
    def max_batch_size(self) -> int:
        """Most images in a batch."""
        return self._embedder.batch_size

    @property
    def batch_size(self) -> int:
        """How many images to embed at a time: what fits its memory and, on a slow device, into `MAX_BATCH_S`."""
        most = self._embedder.batch_size
        wanted = MAX_BATCH_S / self._image_s if self._image_s else FIRST_BATCH_SIZE
        return max(1, min(most, int(wanted)))

    def prepare_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize a decoded image as the model takes it, (H, W, 3) uint8, in the calling thread."""
        return self._embedder.prepare_image(image)

    def choose_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in pixels to which `prepare_image` resizes an image of this height and width."""
        return self._embedder.choose_size(height, width)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed query texts; returns (N, D) float32 unit vectors."""
        with self._query():
            return self._embedder.embed_texts(texts)

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        """Say which texts are too long for the model, and what of them it doesn't read; None where it reads all."""
        return self._embedder.describe_truncation(texts)

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        """Say of each text why the model can't read it, in a sentence; None where it can."""
        return self._embedder.describe_refusals(texts)

    def is_settled(self, prefix: str) -> bool:
        """Whether the model reads nothing of what may follow `prefix`."""
        return self._embedder.is_settled(prefix)

    def embed_query_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed N prepared query images, each (H, W, 3) uint8; returns (N, D) float32 unit vectors."""
        with self._query():
            return self._embedder.embed_pixels(pixels)

    def locate_vector(self, pixels: NDArray[np.uint8], text_embedding: NDArray[np.float32]) -> LocatedText:
        """Ask which parts of a prepared image, (H, W, 3) uint8, made it fit a text's (D,) unit vector."""
        with self._query():
            return self._embedder.locate_vector(pixels, text_embedding)

    @property
    def takes_batches_ahead(self) -> bool:
        """Whether `stage_pixels` brings a batch into the device's own memory while another one is computed."""
        return self._embedder.device.startswith("cuda")

    def stage_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> StagedPixels | Sequence[NDArray[np.uint8]]:
        """Start to bring a batch of prepared images, each (H, W, 3) uint8, to the device; `embed_pixels` takes it."""
        return self._embedder.stage_pixels(pixels)

    def embed_pixels(self, pixels: StagedPixels | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed a batch of N prepared images, each (H, W, 3) uint8, or what `stage_pixels` gave, once no query waits.

        Returns:
            (N, D) float32 unit vectors.
        """
        with self._images:
            with self._changed:
                self._changed.wait_for(lambda: self._queries == 0, timeout=MAX_DEFERENCE_S)
            started = time.perf_counter()
            embeddings = self._embedder.embed_staged(pixels)
            self._image_s = (time.perf_counter() - started) / max(1, len(pixels))
            return embeddings

    def check(self) -> None:
        """Embed a grey image.

        Raises:
            DeviceError: If that fails.
        """
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        try:
            self._embedder.embed_pixels([self._embedder.prepare_image(grey)])
        except Exception as error:
            raise DeviceError(f"The device fails: {type(error).__name__}: {error}") from error

    @contextmanager
    def _query(self) -> Iterator[None]:
        """Hold back batches of images during the block; one that is on the device already is not interrupted."""
        with self._changed:
            self._queries += 1
        try:
            yield
        finally:
            with self._changed:
                self._queries -= 1
                self._changed.notify_all()
