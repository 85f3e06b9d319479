"""Makes the n-th batch from the seed and n alone, so that a resumed run sees the same images.

So a run that was stopped goes on with the batches that it would have had, and several processes agree on who has which
part without communicating. Threads read and decode the next batches while one is trained on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.siglip.preprocess.image import (
    ImageSettings,
    make_naflex_inputs,
    normalize,
    resize_image,
)
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, ImageLimits, open_image
from siglip_ingest.siglip.tokenizer.base import Tokenizer
from siglip_ingest.siglip.training.data.examples import Example, read_part
from siglip_ingest.siglip.training.distributed.process_group import ProcessGroup
from siglip_ingest.siglip.training.objectives import Batch, ClassBatch

BATCHES_AHEAD = 2  # that are decoded while one is trained on
MAX_REPLACEMENTS = 1000  # images tried in the place of one that can't be read


class Row(NamedTuple):
    """One image of a batch: whose it is, and its pixels (height, width, 3) uint8 in the model's size."""

    example: Example
    pixels: NDArray[np.uint8]


class ImageReader:
    """Reads the images of batches.

    Each epoch goes through the data in a new order; what is left over at its end and fills no batch is not used in it.
    An image that can't be read is noted in `broken`, and another one of the data set, which is a function of seed and
    place too, stands in for it.

    Args:
        examples: The data set, the same list in all processes.
        settings: The checkpoint's.
        batch_size: Images in a batch, over all processes.
        seed: Of the order.
        group: This process's; it gets its part of each batch.
        threads: That read and decode; by default one a core, at most 8.
        limits: Larger images are not read.

    Raises:
        InvalidInputError: If the batch is larger than the data set, or can't be split evenly.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        settings: ImageSettings,
        *,
        batch_size: int,
        seed: int = 0,
        group: ProcessGroup | None = None,
        threads: int | None = None,
        limits: ImageLimits = DEFAULT_LIMITS,
    ) -> None:
        group = group or ProcessGroup()
        if batch_size > len(examples):
            raise InvalidInputError(
                f"A batch of {batch_size} is larger than the data, {len(examples)} images: choose a smaller one."
            )
        if batch_size % group.size:
            raise InvalidInputError(f"A batch of {batch_size} can't be split evenly among {group.size} processes.")
        self.settings = settings
        self.seed = seed
        self.batches_per_epoch = len(examples) // batch_size
        self.broken: dict[str, str] = {}
        self._examples = examples
        self._limits = limits
        self._batch_size = batch_size
        self._own = range(group.rank * batch_size // group.size, (group.rank + 1) * batch_size // group.size)
        self._pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), thread_name_prefix="decode")
        self._pending: dict[int, list[Future[Row]]] = {}
        self._order = lru_cache(maxsize=2)(self._make_order)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    def find_epoch(self, number: int) -> int:
        """Return the epoch that batch `number` belongs to, from 0."""
        return number // self.batches_per_epoch

    def read(self, number: int) -> list[Row]:
        """Return this process's part of batch `number`, from 0.

        Raises:
            InvalidInputError: If hardly any image of the data set can be read.
        """
        self._pending = {n: rows for n, rows in self._pending.items() if number <= n <= number + BATCHES_AHEAD}
        for ahead in range(number, number + BATCHES_AHEAD + 1):
            if ahead not in self._pending:
                self._pending[ahead] = [self._pool.submit(self._read_row, ahead, position) for position in self._own]
        return [row.result() for row in self._pending.pop(number)]

    def to_inputs(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Make what the vision tower takes: pixel values and, for NaFlex, the mask and the shapes.

        NaFlex's patches are padded to the most that an image of these has.
        """
        side, pixels = self.settings.patch_size, [row.pixels for row in rows]
        if side is None:
            return torch.from_numpy(normalize(np.stack(pixels), self.settings)), None, None
        longest = max(own.shape[0] * own.shape[1] // side**2 for own in pixels)
        padded = make_naflex_inputs(pixels, self.settings, num_patches=longest)
        values, mask, spatial_shapes = (torch.from_numpy(array) for array in padded)
        return values, mask, spatial_shapes

    def _make_order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng([self.seed, 1, epoch]).permutation(len(self._examples))

    def _read_row(self, number: int, position: int) -> Row:
        """Read the image at a place of a batch, or another one in its place."""
        epoch, index = divmod(number, self.batches_per_epoch)
        chosen = int(self._order(epoch)[index * self._batch_size + position])
        if row := self._try_to_read(self._examples[chosen]):
            return row
        start = int(np.random.default_rng([self.seed, 2, number, position]).integers(len(self._examples)))
        for step in range(min(MAX_REPLACEMENTS, len(self._examples))):
            if row := self._try_to_read(self._examples[(start + step) % len(self._examples)]):
                return row
        name, reason = next(iter(self.broken.items()))
        raise InvalidInputError(
            f"{len(self.broken)} images can't be read, and no other one was found in their place. {name}: {reason}"
        )

    def _try_to_read(self, example: Example) -> Row | None:
        """Read and squeeze an image; None, and an entry in `broken`, where it can't be read."""
        if example.name in self.broken:
            return None
        try:
            image = open_image(example.path if example.size is None else read_part(example), self._limits)
        except (ImageError, OSError) as error:
            self.broken[example.name] = str(error)
            return None
        return Row(example, resize_image(image, self.settings))


class PairBatches:
    """Batches of images and captions.

    An image with several captions comes with one of them, another one in another epoch. Where two images of a batch
    have the same caption, it is true of both.

    Args:
        images: Where the images come from.
        tokenizer: The checkpoint's.
    """

    def __init__(self, images: ImageReader, tokenizer: Tokenizer) -> None:
        self._images = images
        self._tokenizer = tokenizer

    def __call__(self, number: int) -> Batch:
        """Make batch `number`; the same number gives the same batch."""
        rows = self._images.read(number)
        epoch = self._images.find_epoch(number)
        input_ids = self._tokenizer([self._choose(row.example, epoch) for row in rows])
        match_ids = [int.from_bytes(hashlib.sha256(ids.tobytes()).digest()[:8], signed=True) for ids in input_ids]
        pixel_values, mask, shapes = self._images.to_inputs(rows)
        return Batch(
            pixel_values,
            torch.from_numpy(input_ids),
            match_ids=torch.tensor(match_ids),
            pixel_attention_mask=mask,
            spatial_shapes=shapes,
        )

    def _choose(self, example: Example, epoch: int) -> str:
        """Choose one of an image's captions: all of them in turn, from one that its name draws."""
        start = hashlib.sha256(f"{self._images.seed} {example.name}".encode()).digest()[0]
        return example.captions[(start + epoch) % len(example.captions)]


class ClassBatches:
    """Batches of images and the numbers of their classes.

    Args:
        images: Where the images come from.
    """

    def __init__(self, images: ImageReader) -> None:
        self._images = images

    def __call__(self, number: int) -> ClassBatch:
        """Make batch `number`; the same number gives the same batch."""
        rows = self._images.read(number)
        pixel_values, mask, shapes = self._images.to_inputs(rows)
        return ClassBatch(pixel_values, torch.tensor([row.example.target for row in rows]), mask, shapes)
