"""Rows per second of `vectors import` and `vectors export`, on a PostgreSQL of its own.

    python benchmarks/vectors.py [--rows 200000] [--dimension 768] [--dtype float32] [--parquet] [--hashes]

The whole of each call is timed: reading and checking the files, storing rows and vectors, writing files. The second
import finds that all images have their vectors already, as one does that is started again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import psycopg

from siglip_ingest import SiglipClient
from siglip_ingest.db.schema import migrate
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.postgres import Postgres

SERVER = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--dtype", choices=("float16", "float32"), default="float32", help="of the vectors to import")
    parser.add_argument("--parquet", action="store_true", help="export to, and import from, one Parquet file")
    parser.add_argument("--hashes", action="store_true", help="give each image a content hash")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as name:
        folder = Path(name)
        write_input(folder, arguments.rows, arguments.dimension, arguments.dtype, has_hashes=arguments.hashes)
        postgres = Postgres(DataFolder.at(folder / "home"), SERVER)
        postgres.start()
        try:
            measure(postgres.url.rpartition("/")[0] + "/postgres", folder, arguments.rows, is_parquet=arguments.parquet)
        finally:
            postgres.stop()


def measure(url: str, folder: Path, rows: int, *, is_parquet: bool) -> None:
    """Import, import again, export, and import into another model."""
    migrate(url)
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10000
    print(f"{rows:,} rows, PostgreSQL {version}, Python {platform.python_version()}, numpy {np.__version__}")
    out, items = (folder / "out.parquet", None) if is_parquet else (folder / "out.npy", folder / "out.jsonl")
    with SiglipClient(database_url=url) as client:

        def run(what: str, *files: Path | None, **options: str) -> None:
            started = time.perf_counter()
            done = client.import_vectors(*files, **options) if options else client.export_vectors(*files)  # type: ignore[arg-type]
            took = time.perf_counter() - started
            print(f"{what:32} {rows / took:9,.0f} rows/s   {took:6.1f} s   {done}")

        run("import", folder / "in.npy", folder / "in.jsonl", model="first")
        run("import again", folder / "in.npy", folder / "in.jsonl", model="first")
        run("export", out, items)
        run("import under another model", out, items, model="second")


def write_input(folder: Path, rows: int, dimension: int, dtype: str, *, has_hashes: bool) -> None:
    """Write random unit vectors, and a JSON line for each as people would have it."""
    generator = np.random.default_rng(7)
    array = np.lib.format.open_memmap(folder / "in.npy", "w+", np.dtype(dtype), (rows, dimension))
    for first in range(0, rows, 10_000):
        vectors = generator.normal(size=(min(10_000, rows - first), dimension))
        array[first : first + len(vectors)] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    array.flush()
    with (folder / "in.jsonl").open("w", encoding="utf-8") as lines:
        for row in range(rows):
            item = {"uri": f"https://example.com/photos/{row:08}.jpg", "key": str(row)}
            item |= {"metadata": {"album": row % 100, "n": row}, "width": 640, "height": 480, "format": "JPEG"}
            if has_hashes:
                item["content_hash"] = sha256(str(row).encode()).hexdigest()
            lines.write(json.dumps(item) + "\n")


if __name__ == "__main__":
    main()
