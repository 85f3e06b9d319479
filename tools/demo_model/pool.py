"""Training images of the demo world, drawn ahead of time, and the batches made from them."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest.demo.captions import find_matches, label_captions, vary, write_caption
from siglip_ingest.demo.description import describe_scene
from siglip_ingest.demo.drawing.scene import draw_scene
from siglip_ingest.siglip.tokenizer.base import Tokenizer
from tools.demo_model.attributes import DemoBatch, find_targets

SHIFT = 2  # pixels by which a training image may be moved
LABELS_PER_BATCH = 40
CHUNK = 500  # images per task of a drawing process


def draw_training_image(seed: int, size: int) -> NDArray[np.uint8]:
    """Draw the image of a seed and squeeze it to (size, size, 3); shape, scale and JPEG quality vary."""
    rng = random.Random(f"pool {seed}")  # noqa: S311  # images, not secrets
    height = rng.choice((160, 192, 224, 288))
    width = round(height * rng.choice((1.0, 4 / 3, 4 / 3, 4 / 3, 3 / 2)))
    image = draw_scene(describe_scene(seed), (width, height)).image
    if rng.random() < 0.6:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=rng.randint(70, 95))
        image = Image.open(file)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def draw_pool(
    path: Path, count: int, *, size: int, processes: int = 2, progress: Callable[[int], None] = print
) -> None:
    """Draw the images of seeds 0 to `count` - 1 into an .npy file of (count, size, size, 3) uint8.

    Args:
        path: The file; it appears only when it is whole.
        count: How many images.
        size: Their side in pixels.
        processes: How many draw at the same time.
        progress: Told the number of images done, now and then.
    """
    partial = path.with_name(f"{path.name}.partial")
    pool = open_memmap(partial, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    edges = [*range(0, count, CHUNK), count]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as executor:
        tasks = [executor.submit(_draw_chunk, range(*edge), size) for edge in pairwise(edges)]
        for (start, end), task in zip(pairwise(edges), tasks, strict=True):
            pool[start:end] = task.result()
            if end % (CHUNK * 20) == 0 or end == count:
                progress(end)
    pool.flush()
    del pool
    partial.replace(path)


def _draw_chunk(seeds: Iterable[int], size: int) -> NDArray[np.uint8]:
    return np.stack([draw_training_image(seed, size) for seed in seeds])


class DemoBatches:
    """The n-th training batch of the demo world.

    Each image comes with a full caption, a partial one and a near miss (the caption of an image that differs in one
    attribute), all worded anew; label prompts are added. Which texts are true of which images is worked out for all
    pairs.

    Args:
        images: (N, size, size, 3) uint8, the image of seed n in row n.
        tokenizer: The checkpoint's own.
        batch_size: Images a batch.
    """

    def __init__(self, images: NDArray[np.uint8], tokenizer: Tokenizer, *, batch_size: int) -> None:
        self._images = images
        self._tokenizer = tokenizer
        self._batch_size = batch_size
        self._descriptions = [describe_scene(seed) for seed in range(len(images))]
        self._targets = find_targets(self._descriptions)

    def __call__(self, number: int) -> DemoBatch:
        """Make batch `number`; the same number gives the same batch."""
        rng = random.Random(f"batch {number}")  # noqa: S311
        rows = self._choose_rows(number)
        descriptions = [self._descriptions[row] for row in rows]
        captions = [write_caption(description, rng) for description in descriptions]
        captions += [write_caption(description, rng, is_partial=True) for description in descriptions]
        # Which shape has which colour is the hardest to learn: two near misses each.
        near = [*descriptions, *(d for d in descriptions if not d.is_landscape)]
        captions += [write_caption(vary(d, rng), rng, is_partial=rng.random() < 0.3) for d in near]
        captions += rng.sample(label_captions(rng), LABELS_PER_BATCH)
        return DemoBatch(
            torch.from_numpy(self._augment(self._images[rows], number)),
            self._targets[rows],
            torch.from_numpy(self._tokenizer([caption.text for caption in captions])),
            torch.from_numpy(find_matches(descriptions, captions)),
        )

    def make_wordless(self, number: int) -> DemoBatch:
        """Make batch `number` of the first lesson: images and their attributes."""
        rows = self._choose_rows(number)
        return DemoBatch(torch.from_numpy(self._augment(self._images[rows], number)), self._targets[rows])

    def sample_pixels(self, count: int) -> torch.Tensor:
        """Return the first images as they are, normalised: (count, 3, size, size)."""
        return torch.from_numpy(self._images[:count].transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0)

    def _choose_rows(self, number: int) -> NDArray[np.int64]:
        """Walk through all images in a new order each epoch."""
        per_epoch = len(self._images) // self._batch_size
        epoch, position = divmod(number, per_epoch)
        order = np.random.default_rng([7, epoch]).permutation(len(self._images))
        return np.sort(order[position * self._batch_size : (position + 1) * self._batch_size])

    def _augment(self, images: NDArray[np.uint8], number: int) -> NDArray[np.float32]:
        """Move each image a little, vary its brightness and contrast, and normalise: (B, 3, size, size)."""
        rng = np.random.default_rng([11, number])
        count, size = images.shape[:2]
        padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
        moves = rng.integers(0, 2 * SHIFT + 1, (count, 2))
        moved = np.stack([p[y : y + size, x : x + size] for p, (y, x) in zip(padded, moves, strict=True)])
        contrast = rng.uniform(0.88, 1.1, (count, 1, 1, 1)).astype(np.float32)
        brightness = rng.uniform(-0.07, 0.07, (count, 1, 1, 1)).astype(np.float32)
        pixel_values = (moved.transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1.0) * contrast + brightness
        clipped: NDArray[np.float32] = np.clip(pixel_values, -1.0, 1.0, dtype=np.float32)
        return clipped
