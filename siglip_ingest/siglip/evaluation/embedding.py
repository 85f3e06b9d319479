"""Embeds many files and texts for an evaluation: threads decode while the model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, ImageLimits, open_image

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder

Progress = Callable[[int], object]
TEXTS_PER_CALL = 256
MOST_DECODE_THREADS = 8
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class SkippedImage:
    """An image that couldn't be read, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class EmbeddedImages:
    """What became of N files.

    Attributes:
        vectors: (M, D) float32 unit vectors of those that could be read, in order.
        positions: (M,) int64: which of the N each is of.
        skipped: The others.
    """

    vectors: NDArray[np.float32]
    positions: NDArray[np.int64]
    skipped: tuple[SkippedImage, ...]


def embed_files(
    embedder: TorchEmbedder,
    paths: Sequence[Path],
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    decode_threads: int = 0,
    progress: Progress,
) -> EmbeddedImages:
    """Embed files of images; one that can't be read is left out.

    Args:
        embedder: The loaded checkpoint; its `batch_size` images go to the device at a time.
        paths: The files.
        limits: Larger images are left out.
        decode_threads: 0 means 8.
        progress: Called with how many files are done since the last call.

    Raises:
        InvalidInputError: If none of the files can be read.
    """
    vectors = np.empty((len(paths), embedder.info.dimension), dtype=np.float32)
    positions: list[int] = []
    skipped: list[SkippedImage] = []
    batch: list[NDArray[np.uint8]] = []

    def embed_batch() -> None:
        start = len(positions) - len(batch)
        vectors[start : len(positions)] = embedder.embed_pixels(batch)
        progress(len(batch))
        batch.clear()

    for position, prepared in enumerate(_prepare(embedder, paths, limits, decode_threads or MOST_DECODE_THREADS)):
        if isinstance(prepared, ImageError):
            skipped.append(SkippedImage(paths[position], str(prepared)))
            progress(1)
            continue
        batch.append(prepared)
        positions.append(position)
        if len(batch) >= embedder.batch_size:
            embed_batch()
    if batch:
        embed_batch()
    if not positions:
        raise InvalidInputError(f"None of the {len(paths):,} images can be read. The first: {skipped[0].reason}")
    return EmbeddedImages(vectors[: len(positions)], np.array(positions, dtype=np.int64), tuple(skipped))


def embed_many_texts(embedder: TorchEmbedder, texts: Sequence[str], *, progress: Progress) -> NDArray[np.float32]:
    """Embed texts, however many and whatever is left of them; returns (N, D) float32 unit vectors in the same order."""
    vectors = np.empty((len(texts), embedder.info.dimension), dtype=np.float32)
    for start in range(0, len(texts), TEXTS_PER_CALL):
        part = texts[start : start + TEXTS_PER_CALL]
        vectors[start : start + len(part)] = embedder.embed_tokens(embedder.tokenize(part))
        progress(len(part))
    return vectors


def count_full_texts(embedder: TorchEmbedder, texts: Sequence[str]) -> int:
    """Count the texts that fill all of the model's positions: of these, what doesn't fit was cut off."""
    pad_id = int(embedder.info.text_settings["pad_id"])
    starts = range(0, len(texts), TEXTS_PER_CALL)
    # The last position always has the final token or padding, and SigLIP's padding is its final token.
    return sum(int((embedder.tokenize(texts[s : s + TEXTS_PER_CALL])[:, -2] != pad_id).sum()) for s in starts)


def _prepare(
    embedder: TorchEmbedder, paths: Sequence[Path], limits: ImageLimits, threads: int
) -> Iterator[NDArray[np.uint8] | ImageError]:
    """Decode and resize in threads, a few batches ahead; gives each file's pixels or why there are none, in order."""

    def prepare(path: Path) -> NDArray[np.uint8] | ImageError:
        try:
            return embedder.prepare_image(open_image(path, limits))
        except ImageError as error:
            return error

    ahead = _BATCHES_AHEAD * embedder.batch_size
    waiting: deque[Future[NDArray[np.uint8] | ImageError]] = deque()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for path in paths:
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(prepare, path))
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
