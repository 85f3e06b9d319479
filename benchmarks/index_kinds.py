"""Size, build time, recall and latency of each kind of index, on a PostgreSQL of its own.

    python benchmarks/index_kinds.py [--rows 200000] [--dimension 768] [--sample 100] [--memory 1GB]

The vectors have a common direction and three levels of clusters of uneven sizes; the texts lie outside of the images'
cone, as those of a model do. Recall is what `siglip.index_recall` says. Of an index of bits as many candidates are
ranked by their vectors as ef_search is.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from siglip_ingest.db.schema import migrate
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.postgres import Postgres

CHUNK = 10_000
TEXTS = 100
EF_SEARCHES = (40, 100, 200, 400, 600, 1000)
FILTERS = {"10 %": '{"tenth": 1}', "1 %": '{"hundredth": 1}'}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--sample", type=int, default=100, help="queries of each kind")
    parser.add_argument("--memory", default="1GB", help="shared_buffers: less than the indexes shows what bits are for")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as name:
        server = {"shared_buffers": arguments.memory, "max_wal_size": "4GB"}
        postgres = Postgres(DataFolder.at(Path(name) / "home"), server)
        postgres.start()
        try:
            url = postgres.url.rpartition("/")[0] + "/postgres"
            migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SET siglip.measure_recall = off")
                fill(connection, arguments.rows, arguments.dimension)
                for kind in ("halfvec", "bit_rerank"):
                    measure(connection, kind, arguments.sample)
        finally:
            postgres.stop()


def fill(connection: psycopg.Connection[Any], rows: int, dimension: int) -> None:
    """Store a model, its images and its texts."""
    connection.execute(
        "INSERT INTO siglip.models (name, revision, dimension, logit_scale, logit_bias, described_at, is_active)"
        " VALUES ('bench', 'bench', %s, 2.3, -2, now(), true)",
        [dimension],
    )
    connection.execute("SELECT siglip.create_embedding_partition(model_id, dimension) FROM siglip.models")
    connection.execute("SELECT siglip.create_nearest_images(model_id, dimension) FROM siglip.models")
    connection.execute("INSERT INTO siglip.contents (width) SELECT 1 FROM generate_series(1, %s)", [rows])
    connection.execute(
        "INSERT INTO siglip.images (collection, uri, content_id, metadata)"
        " SELECT 'default', 'file:///' || content_id, content_id,"
        " jsonb_build_object('tenth', content_id % 10, 'hundredth', content_id % 100) FROM siglip.contents"
    )
    started = time.perf_counter()
    copy = "COPY siglip.image_embeddings (model_id, content_id, embedding) FROM STDIN"
    with connection.cursor().copy(copy) as stream:
        for content_id, vector in enumerate(make_vectors(rows, dimension), start=1):
            stream.write(f"1\t{content_id}\t{to_text(vector)}\n")
    print(f"{rows:,} x {dimension}, stored in {time.perf_counter() - started:.0f} s")
    rng = np.random.default_rng(2)
    away = normalize(rng.standard_normal((1, dimension)))
    near = np.stack(list(make_vectors(TEXTS, dimension, leaves_seed=5)))
    texts = normalize(0.6 * near + 0.7 * away + 0.4 * rng.standard_normal(near.shape) / np.sqrt(dimension))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO siglip.texts (model_id, query, embedding) VALUES (1, %s, %s::halfvec)",
            [(f"text {n}", to_text(text)) for n, text in enumerate(texts)],
        )
    connection.execute("ANALYZE siglip.images")


def measure(connection: psycopg.Connection[Any], kind: str, sample: int) -> None:
    """Build one kind of index, and print what it takes and gives."""
    connection.execute("SELECT siglip.create_index(%s)", [kind])
    while connection.execute("SELECT siglip.maintain(is_full => true)").fetchone() != (None,):
        pass
    built = connection.execute(
        "SELECT sum(table_bytes), sum(index_bytes), sum(build_s), sum(built_rows)"
        " FROM siglip.index_status WHERE index_kind = %s",
        [kind],
    ).fetchone()
    assert built is not None  # a sum has a row
    table_bytes, index_bytes, build_s, rows = map(float, built)
    print(f"\n{kind}: vectors {table_bytes / 1e6:.0f} MB, index {index_bytes / 1e6:.0f} MB ", end="")
    print(
        f"({index_bytes / rows:.0f} bytes a row), built in {build_s:.0f} s with its copy ({rows / build_s:.0f} rows/s)"
    )
    print("ef_search  filter  queries  recall  95 % interval   ms a search  ms an exact answer")
    for ef_search in EF_SEARCHES:
        connection.execute("UPDATE siglip.models SET ef_search = %s", [ef_search])
        print_recall(connection, ef_search, "-", None, sample)
    connection.execute("UPDATE siglip.models SET ef_search = NULL")
    for name, condition in FILTERS.items():
        print_recall(connection, None, name, condition, sample)


def print_recall(
    connection: psycopg.Connection[Any], ef_search: int | None, name: str, condition: str | None, sample: int
) -> None:
    """Measure recall, and print a line for each kind of query."""
    rows = connection.execute(
        "SELECT kind, recall, low, high, search_ms, exact_ms FROM siglip.index_recall(%s, filter => %s::jsonb)",
        [sample, condition],
    ).fetchall()
    for kind, recall, low, high, search_ms, exact_ms in rows:
        print(
            f"{ef_search or 'default':>9}  {name:>6}  {kind:>7}  {recall:.3f}   {low:.3f} to {high:.3f}"
            f"  {search_ms:12.1f}  {exact_ms:18.1f}"
        )


def make_vectors(count: int, dimension: int, *, leaves_seed: int = 3) -> Iterator[NDArray[np.float32]]:
    """Unit vectors, some ten thousand at a time; the clusters are the same for every seed."""
    rng = np.random.default_rng(1)
    tops, middles, leaves = 24, 24 * 18, 24 * 18 * 12
    common = normalize(rng.standard_normal((1, dimension)))
    levels = [normalize(rng.standard_normal((size, dimension))) for size in (tops, middles, leaves)]
    shares = rng.dirichlet(np.full(leaves, 0.6))
    rng = np.random.default_rng(leaves_seed)
    for first in range(0, count, CHUNK):
        leaf = rng.choice(leaves, min(CHUNK, count - first), p=shares)
        noise = rng.standard_normal((len(leaf), dimension)) / np.sqrt(dimension)
        yield from normalize(
            0.9 * common
            + 0.6 * levels[0][leaf % tops]
            + 0.5 * levels[1][leaf % middles]
            + 0.45 * levels[2][leaf]
            + noise * (0.35 + 0.35 * rng.random((len(leaf), 1)))
        )


def normalize(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Divide (N, D) vectors by their norms."""
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def to_text(vector: NDArray[np.float32]) -> str:
    """Write a vector as pgvector reads it."""
    return "[" + ",".join(f"{x:.5f}" for x in vector.tolist()) + "]"


if __name__ == "__main__":
    main()
