"""Unit vectors with the margins of real ones, and what is known of each: its clusters and what filters ask for.

Images lie in a cone around a common direction, in three levels of clusters of uneven size, with noise of uneven
strength. Flat clusters would make filtered recall look worse than anybody's: nine of the ten nearest rows that pass a
filter would be noise. Texts lie outside of the cone, as those of SigLIP do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIMENSION = 768
TOPS, MIDDLES = 24, 18  # clusters of the first level, and of the second in each of these
ROWS_A_LEAF = 40  # of the third level, on average
COMMON, TOP, MIDDLE, LEAF = 0.9, 0.6, 0.5, 0.45  # how strongly each level pulls
NOISE = (0.35, 0.70)
QUERY_NOISE = 0.5
TEXT_COMMON, TEXT_MEANING, TEXT_NOISE = 0.9, 0.3, 0.3
COLLECTIONS = (("default", 0.7), ("holidays", 0.2), ("archive", 0.1))
CHUNK = 20_000


@dataclass(frozen=True, slots=True)
class Space:
    """Where the clusters lie.

    Attributes:
        common: (D,) direction of all images.
        tops: (TOPS, D) directions of the first level.
        middles: (TOPS * MIDDLES, D) of the second; those of one cluster of the first level follow each other.
        leaves: (TOPS * MIDDLES * leaves, D) of the third, likewise.
        shares: Part of the images that each leaf has; they sum to 1.
        text_common: (D,) direction of all texts.
    """

    common: NDArray[np.float32]
    tops: NDArray[np.float32]
    middles: NDArray[np.float32]
    leaves: NDArray[np.float32]
    shares: NDArray[np.float64]
    text_common: NDArray[np.float32]

    def middle_of(self, leaf: NDArray[np.int64]) -> NDArray[np.int64]:
        """The clusters of the second level that leaves belong to."""
        return leaf // (len(self.leaves) // len(self.middles))

    def top_of(self, leaf: NDArray[np.int64]) -> NDArray[np.int64]:
        """The clusters of the first level that leaves belong to."""
        return self.middle_of(leaf) // MIDDLES

    def pull(self, leaf: NDArray[np.int64]) -> NDArray[np.float32]:
        """The (N, D) sums of the three levels' directions, without the common one."""
        pull: NDArray[np.float32] = (
            TOP * self.tops[self.top_of(leaf)] + MIDDLE * self.middles[self.middle_of(leaf)] + LEAF * self.leaves[leaf]
        ).astype(np.float32)
        return pull


@dataclass(frozen=True, slots=True)
class Images:
    """Vectors and what is stored with them.

    Attributes:
        vectors: (N, D) float16 unit vectors, in random order.
        tops: (N,) number of each image's cluster of the first level.
        draws: (N,) random numbers in [0, 1,000), independent of where the vector lies: what filters ask for.
        collections: (N,) index into `COLLECTIONS`, likewise independent.
    """

    vectors: NDArray[np.float16]
    tops: NDArray[np.int64]
    draws: NDArray[np.int64]
    collections: NDArray[np.int64]


def make_space(generator: np.random.Generator, count: int, dimension: int = DIMENSION) -> Space:
    """Draw the directions of as many clusters as `count` images need."""
    leaves = TOPS * MIDDLES * max(4, count // (TOPS * MIDDLES * ROWS_A_LEAF))
    return Space(
        common=draw_directions(generator, 1, dimension)[0],
        tops=draw_directions(generator, TOPS, dimension),
        middles=draw_directions(generator, TOPS * MIDDLES, dimension),
        leaves=draw_directions(generator, leaves, dimension),
        shares=generator.dirichlet(np.full(leaves, 0.6)),
        text_common=draw_directions(generator, 1, dimension)[0],
    )


def make_images(generator: np.random.Generator, space: Space, count: int) -> Images:
    """Draw images from the clusters of a space."""
    leaf = generator.choice(len(space.leaves), count, p=space.shares)
    vectors = np.empty((count, len(space.common)), np.float16)
    for start in range(0, count, CHUNK):
        part = leaf[start : start + CHUNK]
        strength = generator.uniform(*NOISE, size=(len(part), 1)).astype(np.float32)
        vectors[start : start + CHUNK] = to_unit(
            COMMON * space.common + space.pull(part) + strength * draw_noise(generator, vectors[part].shape)
        )
    return Images(
        vectors=vectors,
        tops=space.top_of(leaf),
        draws=generator.integers(0, 1000, count),
        collections=generator.choice(len(COLLECTIONS), count, p=[share for _, share in COLLECTIONS]),
    )


def make_queries(
    generator: np.random.Generator, vectors: NDArray[np.float16], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors like those of images that aren't stored: (count, D), and the row of the image that each was made from."""
    rows = generator.choice(len(vectors), count, replace=False)
    near = vectors[rows].astype(np.float32)
    return to_unit(near + QUERY_NOISE * draw_noise(generator, near.shape)), rows


def make_texts(generator: np.random.Generator, space: Space, count: int) -> NDArray[np.float32]:
    """Vectors (count, D) like those of texts that name a cluster of the second or third level, outside of the cone."""
    leaf = generator.choice(len(space.leaves), count, p=space.shares)
    meaning = space.pull(leaf)
    broad = np.arange(count) % 2 == 0  # every other text names a cluster of the second level
    meaning[broad] -= LEAF * space.leaves[leaf[broad]]
    noise = TEXT_NOISE * draw_noise(generator, meaning.shape)
    return to_unit(TEXT_COMMON * space.text_common + TEXT_MEANING * to_unit(meaning) + noise)


def draw_directions(generator: np.random.Generator, count: int, dimension: int) -> NDArray[np.float32]:
    """Random unit vectors (count, dimension)."""
    return to_unit(generator.standard_normal((count, dimension), dtype=np.float32))


def draw_noise(generator: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Random vectors of about length 1, in rows."""
    noise: NDArray[np.float32] = generator.standard_normal(shape, dtype=np.float32) / np.float32(np.sqrt(shape[-1]))
    return noise


def to_unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Scale the rows to length 1."""
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit
