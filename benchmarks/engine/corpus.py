"""The images of a benchmark: their vectors in a file that its processes share, and what of them the database holds."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psycopg
from numpy.typing import NDArray

from siglip_ingest.db import Connection, models
from siglip_ingest.types import ModelInfo

from .exact import find_similarities
from .vectors import COLLECTIONS, DIMENSION, Images, make_images, make_queries, make_space, make_texts

INFO = ModelInfo(name="benchmark", revision="1", dimension=DIMENSION, logit_scale=4.7, logit_bias=-20.0)
SEED = 7
TEXTS = 20
BATCH = 10_000
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"


@dataclass(slots=True)
class Corpus:
    """What is searched, and with what.

    Attributes:
        url: Of the database.
        images: Of all rows: those that are loaded first, those of the loader, and spare ones.
        queries: (Q, D) float32 vectors like those of images.
        query_tops: (Q,) the cluster of the first level that each query lies in.
        texts: (TEXTS, D) float32 vectors like those of labels.
        similarities: (Q, N) of queries and all rows.
        row_of_image: (greatest image_id + 1,) number of each image's row; -1 where there is no such image.
    """

    url: str
    images: Images
    queries: NDArray[np.float32]
    query_tops: NDArray[np.int64]
    texts: NDArray[np.float32]
    similarities: NDArray[np.float32]
    row_of_image: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def is_stored(self) -> NDArray[np.bool_]:
        """(N,) whether a row is an image of the database."""
        stored = np.zeros(len(self.images.vectors), bool)
        stored[self.row_of_image[self.row_of_image >= 0]] = True
        return stored

    @property
    def image_of_row(self) -> NDArray[np.int64]:
        """(N,) the `image_id` of each row; -1 where it isn't stored."""
        image_ids = np.full(len(self.images.vectors), -1, np.int64)
        known = np.flatnonzero(self.row_of_image >= 0)
        image_ids[self.row_of_image[known]] = known
        return image_ids

    def read_image_ids(self) -> None:
        """Look up which images the database has vectors of now."""
        with psycopg.connect(self.url) as connection:
            pairs = connection.execute(
                "SELECT i.image_id, substring(i.uri, '[0-9]+')::bigint FROM siglip.images AS i"
                " WHERE EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.content_id = i.content_id)",
                binary=True,
            ).fetchall()
        numbers = np.array(pairs, np.int64).reshape(-1, 2)
        self.row_of_image = np.full(int(numbers[:, 0].max(initial=0)) + 1, -1, np.int64)
        self.row_of_image[numbers[:, 0]] = numbers[:, 1]


def make_corpus(url: str, rows: int, query_count: int) -> Corpus:
    """Draw `rows` images, the queries and the texts; the same ones each time."""
    generator = np.random.default_rng(SEED)
    space = make_space(generator, rows)
    images = make_images(generator, space, rows)
    queries, query_rows = make_queries(generator, images.vectors, query_count)
    texts = make_texts(generator, space, TEXTS)
    similarities = find_similarities(images.vectors, queries)
    return Corpus(url, images, queries, images.tops[query_rows], texts, similarities)


def save_images(images: Images, folder: Path) -> None:
    """Write images to a folder, for other processes to map."""
    for name in ("vectors", "tops", "draws", "collections"):
        np.save(folder / f"{name}.npy", getattr(images, name))


def open_images(folder: Path) -> Images:
    """Map images that were written there."""
    return Images(
        *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("vectors", "tops", "draws", "collections"))
    )


def make_lines(images: Images, rows: NDArray[np.int64], content_ids: NDArray[np.int64]) -> Iterator[str]:
    """Lines of `siglip.images` in COPY's text format: collection, uri, content_id, metadata."""
    for row, content_id in zip(rows.tolist(), content_ids.tolist(), strict=True):
        collection, _ = COLLECTIONS[images.collections[row]]
        yield f"{collection}\tfile:///photos/{row}.jpg\t{content_id}\t{json.dumps(make_metadata(images, row))}\n"


def make_metadata(images: Images, row: int) -> dict[str, object]:
    """What is stored with a row: its cluster, and numbers that a half, a tenth, ... of all rows share."""
    draw = int(images.draws[row])
    return {
        "album": int(images.tops[row]),
        "half": draw // 100 % 2,
        "tenth": draw % 10,
        "hundredth": draw % 100,
        "thousandth": draw,
        "title": f"Photograph {row}",
    }


def register_benchmark_model(url: str) -> int:
    """Add the model that all vectors are of, and activate it; returns its `model_id`."""
    with psycopg.connect(url) as connection:
        model_id = models.register_model(connection, INFO.name, INFO.revision)
        models.describe_model(connection, model_id, INFO)
        models.activate_model(connection, model_id)
    return model_id


def store_images(connection: Connection, images: Images, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Add contents and images, which no search finds before their vectors come; returns each one's `content_id`."""
    with connection.transaction():
        contents = connection.execute(
            "INSERT INTO siglip.contents (content_hash, width, height, format)"
            " SELECT sha256(uuid_send(gen_random_uuid())), 640, 480, 'JPEG' FROM generate_series(1, %s)"
            " RETURNING content_id",
            [len(rows)],
            binary=True,
        ).fetchall()
        content_ids = np.array(contents, np.int64)[:, 0]
        with connection.cursor().copy("COPY siglip.images (collection, uri, content_id, metadata) FROM STDIN") as copy:
            copy.write("".join(make_lines(images, rows, content_ids)))
    return content_ids


def store_vectors(
    connection: Connection, model_id: int, content_ids: NDArray[np.int64], vectors: NDArray[np.float16]
) -> float:
    """Add vectors (N, D) in one transaction, by one COPY; returns the milliseconds that it took, packing left out."""
    rows = pack_rows(model_id, content_ids, vectors)
    started = time.perf_counter()
    with connection.cursor().copy(
        "COPY siglip.image_embeddings (model_id, content_id, embedding) FROM STDIN (FORMAT binary)"
    ) as copy:
        copy.write(rows)
    return 1000 * (time.perf_counter() - started)


def pack_rows(model_id: int, content_ids: NDArray[np.int64], vectors: NDArray[np.float16]) -> bytes:
    """Rows of `siglip.image_embeddings` in COPY's binary format: three fields, each after its length in bytes."""
    dimension = vectors.shape[1]
    layout = [
        ("fields", ">i2"),
        ("model_id_bytes", ">i4"),
        ("model_id", ">i4"),
        ("content_id_bytes", ">i4"),
        ("content_id", ">i8"),
        ("embedding_bytes", ">i4"),
        ("dimension", ">i2"),
        ("unused", ">i2"),
        ("elements", ">f2", (dimension,)),
    ]
    packed = np.zeros(len(vectors), layout)
    packed["fields"] = 3
    packed["model_id_bytes"], packed["model_id"] = 4, model_id
    packed["content_id_bytes"], packed["content_id"] = 8, content_ids
    packed["embedding_bytes"], packed["dimension"], packed["elements"] = 4 + 2 * dimension, dimension, vectors
    return COPY_HEADER + packed.tobytes() + COPY_END


def in_batches(rows: NDArray[np.int64], size: int = BATCH) -> Iterator[NDArray[np.int64]]:
    """Cut row numbers into batches."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
