"""How long searches wait while models are switched to and fro, and while one is dropped.

python benchmarks/model_change.py --rows 200000
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
from engine.corpus import store_vectors
from engine.measuring import print_table, print_title
from engine.server import choose_settings, describe_machine, run_server

import siglip_migrations
from siglip_ingest.db import Database, models
from siglip_ingest.types import ModelInfo

SEARCHERS = 4
SWITCHES = 50
BATCH = 10_000


def main() -> None:
    """Fill two models, switch, drop, and print what the searches took meanwhile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000, help="vectors of each model")
    parser.add_argument("--dimension", type=int, default=768)
    arguments = parser.parse_args()
    settings = choose_settings(2 * arguments.rows)
    with run_server(settings) as (url, _):
        siglip_migrations.upgrade(url)
        print(describe_machine(url, settings))
        names = [fill(url, name, arguments.rows, arguments.dimension) for name in ("old/model", "new/model")]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT siglip.switch_model(%s, force => true)", [names[0]])
            table = [
                measure("nothing else", url, lambda: time.sleep(5)),
                measure(f"{SWITCHES} switches", url, lambda: switch(connection, names)),
                measure("the drop", url, lambda: drop(connection, names)),
            ]
    print_title(f"{SEARCHERS} connections search {arguments.rows:,} images of {arguments.dimension} elements during")
    print_table(["", "took s", "searches", "mean ms", "p99 ms", "longest ms"], table)


def fill(url: str, name: str, rows: int, dimension: int) -> str:
    """Give a model random vectors of all images, and its indexes; returns its name."""
    with Database(url) as database, database.connection() as connection:
        model_id = models.register_model(connection, name)
        models.describe_model(connection, model_id, ModelInfo(name, "r", dimension, 4.6, -16.0))
        connection.execute(
            "WITH c AS (INSERT INTO siglip.contents (content_hash) SELECT sha256(n::text::bytea)"
            " FROM generate_series(1, %s) AS n ON CONFLICT DO NOTHING RETURNING content_id)"
            " INSERT INTO siglip.images (uri, content_id) SELECT 'file:///' || content_id, content_id FROM c",
            [rows],
        )
        connection.execute(
            "INSERT INTO siglip.ingest_items (image_id, model_id, state)"
            " SELECT image_id, %s, 'done' FROM siglip.images",
            [model_id],
        )
    generator = np.random.default_rng(model_id)
    with psycopg.connect(url, autocommit=True) as connection:
        ids: Any = [row[0] for row in connection.execute("SELECT content_id FROM siglip.contents ORDER BY 1")]
        for first in range(0, rows, BATCH):
            part = np.array(ids[first : first + BATCH], np.int64)
            vectors = generator.normal(size=(len(part), dimension)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            store_vectors(connection, model_id, part, vectors.astype(np.float16))
        while connection.execute("SELECT siglip.maintain()").fetchone() != (None,):
            pass
    return name


def switch(connection: psycopg.Connection[Any], names: list[str]) -> None:
    """Switch to and fro; ends with the second model."""
    for n in range(SWITCHES):
        connection.execute("SELECT siglip.switch_model(%s)", [names[(n + 1 + SWITCHES) % 2]])
    connection.execute("SELECT siglip.switch_model(%s)", [names[1]])


def drop(connection: psycopg.Connection[Any], names: list[str]) -> None:
    """Drop the first model, and free its space."""
    connection.execute("SELECT siglip.drop_model(%s)", [names[0]])
    connection.execute("CALL siglip.finish_drops()")


def measure(name: str, url: str, action: Callable[[], None]) -> list[object]:
    """Search on several connections while something is done; returns a line of the table."""
    ended = threading.Event()

    def search(seed: int) -> list[float]:
        choice, took = np.random.default_rng(seed), []
        with psycopg.connect(url, autocommit=True) as connection:
            (count,) = connection.execute("SELECT max(image_id) FROM siglip.images").fetchone() or (1,)
            while not ended.is_set():
                image_id = int(choice.integers(1, count + 1))
                began = time.perf_counter()
                connection.execute("SELECT image_id FROM siglip.similar_images(%s, 10)", [image_id]).fetchall()
                took.append(1000 * (time.perf_counter() - began))
        return took[1:]  # the first one plans

    with ThreadPoolExecutor(SEARCHERS) as pool:
        searching = [pool.submit(search, seed) for seed in range(SEARCHERS)]
        time.sleep(1)
        began = time.perf_counter()
        action()
        seconds = time.perf_counter() - began
        ended.set()
        took = [ms for one in searching for ms in one.result()]
    return [name, seconds, len(took), float(np.mean(took)), float(np.percentile(took, 99)), max(took)]


if __name__ == "__main__":
    main()
