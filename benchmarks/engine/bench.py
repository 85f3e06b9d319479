"""The state that the sections share: the corpus, the database, and what was built in it so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import Connection

from .corpus import (
    BATCH,
    Corpus,
    in_batches,
    make_corpus,
    register_benchmark_model,
    save_images,
    store_images,
    store_vectors,
)
from .exact import compute_recall
from .measuring import Clock, Recall, Times, print_table, time_ms
from .ways import ALL, LIMIT, Narrowing, Way, build_plain_tables, connect, fetch


@dataclass(slots=True)
class Bench:
    """One run.

    Attributes:
        url: Of the database.
        folder: For the vectors' file.
        rows: Rows that are searched at rest.
        load_rows: Rows that a loader adds; as many are spare.
        query_count: How many queries.
        corpus: What is searched.
        model_id: Of the vectors.
        has_plain_tables: Whether the bare query has its tables.
    """

    url: str
    folder: Path
    rows: int
    load_rows: int
    query_count: int
    corpus: Corpus = field(init=False)
    model_id: int = field(init=False)
    has_plain_tables: bool = False

    def prepare(self) -> None:
        """Draw the vectors, load them at full speed and let the segments be built."""
        self.corpus = make_corpus(self.url, self.rows + 2 * self.load_rows, self.query_count)
        save_images(self.corpus.images, self.folder)
        self.print_margins()
        self.model_id = register_benchmark_model(self.url)
        with connect(self.url) as connection:
            started = time.perf_counter()
            copying_ms = self.store(connection, np.arange(self.rows))
            seconds = time.perf_counter() - started
            rates = self.rows / seconds, 1000 * self.rows / copying_ms
            print(
                f"Stored {self.rows:,} images on one connection in {seconds:.0f} s ({rates[0]:,.0f} rows/s);"
                f" COPY of their vectors took {copying_ms / 1000:.1f} s of that ({rates[1]:,.0f} rows/s)."
            )
            started = time.perf_counter()
            steps = maintain(connection)
            print(f"siglip.maintain() built the segments in {time.perf_counter() - started:.0f} s, {len(steps)} steps:")
            for took_s, sentence in steps:
                print(f"  {took_s:6.1f} s  {sentence}")
            vacuum(connection)
        self.corpus.read_image_ids()
        self.print_segments()

    def store(self, connection: Connection, rows: NDArray[np.int64]) -> float:
        """Add rows at full speed; returns the milliseconds that COPY of the vectors took."""
        copying_ms = 0.0
        for batch in in_batches(rows, BATCH):
            content_ids = store_images(connection, self.corpus.images, batch)
            copying_ms += store_vectors(connection, self.model_id, content_ids, self.corpus.images.vectors[batch])
        return copying_ms

    def print_margins(self) -> None:
        """Print what tells whether the vectors are like real ones."""
        nearest = -np.sort(-self.corpus.similarities[:, : self.rows], axis=1)
        means = [f"{nearest[:, place - 1].mean():.2f}" for place in (1, 10, 100, 1000) if place <= self.rows]
        sizes = np.bincount(self.corpus.images.tops[: self.rows]) / self.rows
        print(
            f"Mean similarity of the 1st, 10th, 100th and 1,000th neighbour: {', '.join(means)}; "
            f"{len(sizes)} clusters of {100 * sizes.min():.1f} to {100 * sizes.max():.1f} % of the rows."
        )

    def print_segments(self) -> None:
        """Print the segments as people see them."""
        with connect(self.url) as connection:
            rows = connection.execute(
                "SELECT segment::text, state, estimated_rows, table_bytes / 1e6, index_bytes / 1e6, index_kind"
                " FROM siglip.index_status"
            ).fetchall()
        numbers = [[*row[:3], *(None if value is None else float(value) for value in row[3:5]), row[5]] for row in rows]
        print_table(["segment", "state", "rows", "table MB", "index MB", "kind"], numbers)

    def build_plain_tables(self) -> None:
        """Build the bare query's tables, the first time that a section needs them."""
        if self.has_plain_tables:
            return
        with connect(self.url) as connection:
            seconds = build_plain_tables(connection)
        self.has_plain_tables = True
        print(f"The bare query's HNSW index was built in {seconds:.0f} s ({self.rows / seconds:,.0f} rows/s).")

    @property
    def ef_search(self) -> int:
        """The `hnsw.ef_search` that searches of the model run under."""
        with connect(self.url) as connection:
            rows = fetch(
                connection,
                "SELECT coalesce(ef_search, siglip.default_ef_search()) FROM siglip.models WHERE model_id = %s",
                [self.model_id],
            )
        return int(rows[0][0])

    def measure(
        self,
        way: Way,
        narrowings: Sequence[Narrowing] | None = None,
        passes: Sequence[NDArray[np.bool_] | None] | None = None,
    ) -> tuple[Times, Recall]:
        """Ask all queries of one way, after a few that warm it; returns the times and the recall.

        Args:
            way: How to search.
            narrowings: What narrows each query.
            passes: Which rows each query may find; by default all that are stored.
        """
        narrowings = narrowings or [ALL] * self.query_count
        row_of_image = self.corpus.row_of_image
        passes = passes or [self.corpus.is_stored] * self.query_count
        for number in range(min(10, self.query_count)):
            way.search(self.corpus.queries[number], narrowings[number])
        with way.borrow() as connection:
            clock = Clock(connection.info.backend_pid)
        recalls = []
        for number in range(self.query_count):
            found = clock.time(way.search, self.corpus.queries[number], narrowings[number])
            rows = row_of_image[found].tolist()
            recalls.append(compute_recall(rows, self.corpus.similarities[number], passes[number], LIMIT))
        return clock.times, Recall.of(recalls)


def maintain(connection: Connection) -> list[tuple[float, str]]:
    """Let the segments be built as at rest until nothing is left to do; returns the steps' seconds and sentences."""
    connection.execute("SET siglip.rest_after = '0 s'")
    steps: list[tuple[float, str]] = []
    while True:
        took, rows = time_ms(fetch, connection, "SELECT siglip.maintain()")
        if rows[0][0] is None:
            return steps
        steps.append((took / 1000, rows[0][0]))


def vacuum(connection: Connection) -> None:
    """What autovacuum does within minutes; the figures shouldn't depend on whether it came already."""
    for table in ("siglip.images", "siglip.contents"):
        connection.execute(f"VACUUM ANALYZE {table}".encode())
