"""Milliseconds and round trips of a search: the client and the SQL function beside the bare query, in one run.

    python benchmarks/search.py                    # 50,000 vectors of 768 elements, about two minutes
    python benchmarks/search.py --count 10000 --repeats 3

The bare query is what one writes by hand with psycopg: prepared, a binary vector, the model's id as a constant, the
settings of the index set once for the connection. All ways ask for the same ten images of the same queries, in turns,
on a PostgreSQL of the script's own, in a folder that it removes.

The vectors resemble those of photographs: a common direction, three levels of clusters of uneven size, noise of uneven
strength.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg.types.numeric import Int4

from siglip_ingest import SiglipClient
from siglip_ingest.db import Connection, Database, models
from siglip_ingest.db.connection.vectors import HalfVectorDumper, half_vector
from siglip_ingest.db.schema import migrate
from siglip_ingest.search import search_by_embedding
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.postgres import Postgres
from siglip_ingest.types import ModelInfo

DIMENSION = 768
INFO = ModelInfo(name="benchmark", revision="1", dimension=DIMENSION, logit_scale=4.7, logit_bias=-16.0)
QUERIES = 200
LIMIT = 10
BARE = b"""
SELECT i.image_id, i.uri, -(e.embedding::halfvec(768) <#> %(embedding)b) AS similarity, i.metadata
FROM siglip.image_embeddings AS e
JOIN siglip.images AS i ON i.content_hash = e.content_hash
WHERE e.model_id = 1
ORDER BY e.embedding::halfvec(768) <#> %(embedding)b
LIMIT 10
"""
FUNCTION = b"SELECT * FROM siglip.search_images(query_embedding => %(embedding)b, max_results => 10)"
BARE_SETTINGS = ("SET hnsw.iterative_scan = relaxed_order", "SET hnsw.ef_search = 100", "SET jit = off")
SERVER = {"shared_buffers": "512MB", "maintenance_work_mem": "512MB", "fsync": "off", "synchronous_commit": "off"}


class FakeEmbedder:
    """Gives the vector that a text's number stands for, at no cost."""

    info = INFO

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self._vectors = vectors

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vector of "<anything> <number>"."""
        return self._vectors[[int(text.rpartition(" ")[2]) for text in texts]]

    def embed_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """No image is searched for here."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Way:
    """One way to search: by the number of a query; and the connection that it goes through."""

    name: str
    search: Callable[[int], Sequence[Any]]
    connection: Callable[[], Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50_000, help="images")
    parser.add_argument("--repeats", type=int, default=5, help=f"times that each way asks for all {QUERIES} queries")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        postgres = Postgres(DataFolder.at(Path(folder) / "home"), SERVER)
        postgres.start()
        try:
            measure(postgres.url.rpartition("/")[0] + "/postgres", arguments.count, arguments.repeats)
        finally:
            postgres.stop()


def measure(url: str, count: int, repeats: int) -> None:
    """Fill a database, then time the ways in turns."""
    migrate(url)
    vectors = make_vectors(count + QUERIES)
    with psycopg.connect(url, autocommit=True) as connection:
        version = connection.execute(
            "SELECT current_setting('server_version') || ', pgvector ' || extversion FROM pg_extension "
            "WHERE extname = 'vector'"
        ).fetchone()
        print(f"{count:,} x {DIMENSION}, PostgreSQL {version and version[0]}, Python {platform.python_version()}")
        fill(connection, vectors[QUERIES:])
    queries = vectors[:QUERIES]
    with (
        psycopg.connect(url, autocommit=True, prepare_threshold=0) as bare,
        Database(url) as database,
        SiglipClient(database_url=url, embedder=FakeEmbedder(queries)) as client,
    ):
        bare.adapters.register_dumper(HalfVector, HalfVectorDumper)
        bare.execute("LOAD 'vector'")
        for setting in BARE_SETTINGS:
            bare.execute(setting)
        texts = [f"query {number}" for number in range(QUERIES)]
        new_texts = iter(f"new text {turn} {number}" for turn in range(10**6) for number in range(QUERIES))
        for text in texts:
            client.search_images(text)
        ways = [
            Way("bare SQL", lambda n: execute(bare, BARE, queries[n]), lambda: one(bare)),
            Way("SQL function, by a vector", lambda n: execute(bare, FUNCTION, queries[n]), lambda: one(bare)),
            Way("client, by a vector", lambda n: search_by_embedding(database, queries[n]), database.connection),
            Way("client, by a known text", lambda n: client.search_images(texts[n]), client.database.connection),
            Way("client, by a new text", lambda _: client.search_images(next(new_texts)), client.database.connection),
        ]
        check_agreement(ways[:4])
        report(ways, repeats)


def report(ways: Sequence[Way], repeats: int) -> None:
    """Time the ways in turns; print round trips, percentiles and the ratios of the medians to the first way's."""
    times: dict[str, list[float]] = {way.name: [] for way in ways}
    order = random.Random(7)
    for _ in range(repeats):
        for number in range(QUERIES):
            for way in order.sample(ways, len(ways)):
                started = time.perf_counter()
                way.search(number)
                times[way.name].append(1000 * (time.perf_counter() - started))
    first = statistics.median(times[ways[0].name])
    print(f"{'':28} round trips   p50 ms   p95 ms   queries/s   p50 / bare")
    for way in ways:
        took = times[way.name]
        p50, p95 = statistics.median(took), statistics.quantiles(took, n=20)[-1]
        rate = 1000 / statistics.mean(took)
        print(f"{way.name:28} {count_round_trips(way):11} {p50:8.2f} {p95:8.2f} {rate:11.0f} {p50 / first:12.2f}")


def check_agreement(ways: Sequence[Way]) -> None:
    """Make sure that all ways find the same images."""
    for number in range(QUERIES):
        found = [[row.image_id if hasattr(row, "image_id") else row[0] for row in way.search(number)] for way in ways]
        same = [len(set(found[0]) & set(other)) for other in found[1:]]
        if min(same) < LIMIT - 1:  # of equals at the end either may be there
            raise SystemExit(f"Query {number}: the ways find different images: {found}.")


def count_round_trips(way: Way) -> int:
    """Count how often one search waits for the server, out of libpq's own trace."""
    with tempfile.TemporaryFile() as trace:
        with way.connection() as connection:
            connection.pgconn.trace(trace.fileno())
        way.search(0)
        with way.connection() as connection:
            pass
        connection.pgconn.untrace()
        trace.seek(0)
        lines = trace.read().decode().splitlines()
    sent = [line.split("\t")[-1].split()[0] for line in lines if "\tF\t" in line]
    return sum(kind in {"Sync", "Query"} for kind in sent)


@contextmanager
def one(connection: Connection) -> Iterator[Connection]:
    """A connection that is there already, as a block."""
    yield connection


def execute(connection: Connection, statement: bytes, query: NDArray[np.float32]) -> list[Any]:
    """Run one statement with a vector, and fetch its rows."""
    return connection.execute(statement, {"embedding": half_vector(query)}, binary=True).fetchall()


def make_vectors(count: int) -> NDArray[np.float32]:
    """Unit vectors (count, 768) in three levels of clusters around a common direction, in random order."""
    generator = np.random.default_rng(7)

    def directions(number: int) -> NDArray[Any]:
        return generator.normal(size=(number, DIMENSION)) / np.sqrt(DIMENSION)

    vectors = np.repeat(0.6 * directions(1), count, axis=0)
    for level, (clusters, strength) in enumerate(((20, 0.6), (400, 0.5), (8_000, 0.45))):
        sizes = generator.pareto(1.5, clusters) + 0.2 + level
        vectors += strength * directions(clusters)[generator.choice(clusters, count, p=sizes / sizes.sum())]
    vectors += generator.uniform(0.2, 0.6, size=(count, 1)) * directions(count)
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def fill(connection: Connection, vectors: NDArray[np.float32]) -> None:
    """Store a model and an image a vector; the index is built once they are there."""
    connection.adapters.register_dumper(HalfVector, HalfVectorDumper)
    with connection.transaction():
        model_id = models.register_model(connection, INFO.name, INFO.revision)
        models.describe_model(connection, model_id, INFO)
        models.activate_model(connection, model_id)
        connection.execute("DROP INDEX siglip.image_embeddings_1_embedding_hnsw_idx")
        connection.execute(
            "INSERT INTO siglip.images (collection, uri, content_hash, metadata)"
            " SELECT 'default', format('file:///photos/%%s.jpg', n), sha256(n::text::bytea),"
            " jsonb_build_object('n', n, 'album', n %% 100) FROM generate_series(0, %s) AS n",
            [len(vectors) - 1],
        )
        hashes = connection.execute(
            "SELECT sha256(n::text::bytea) FROM generate_series(0, %s) AS n", [len(vectors) - 1], binary=True
        ).fetchall()
        statement = "COPY siglip.image_embeddings (model_id, content_hash, embedding) FROM STDIN (FORMAT binary)"
        with connection.cursor().copy(statement) as copy:
            for (content_hash,), vector in zip(hashes, vectors, strict=True):
                copy.write_row((Int4(model_id), content_hash, half_vector(vector)))
        started = time.perf_counter()
        connection.execute(
            "CREATE INDEX image_embeddings_1_embedding_hnsw_idx ON siglip.image_embeddings_1"
            f" USING hnsw ((embedding::halfvec({DIMENSION})) halfvec_ip_ops)".encode()
        )
        print(f"The index was built in {time.perf_counter() - started:.0f} s.")
    connection.execute("VACUUM ANALYZE siglip.images")
    connection.execute("VACUUM ANALYZE siglip.image_embeddings")


if __name__ == "__main__":
    main()
