"""Half of the images is deleted, and added again: recall and times at each step."""

from __future__ import annotations

import time

import numpy as np

from .bench import Bench, maintain, vacuum
from .measuring import print_table, print_title
from .ways import SqlFunction, connect


def measure_deleting(bench: Bench) -> None:
    """Delete every other image at random, add them again, and search after each step."""
    print_title("Half of the images deleted, and added again")
    corpus = bench.corpus
    stored = np.flatnonzero(corpus.is_stored)
    half = np.sort(np.random.default_rng(13).choice(stored, len(stored) // 2, replace=False))
    image_ids = corpus.image_of_row[half].tolist()
    table: list[list[object]] = []
    steps: list[tuple[float, str]] = []
    with connect(bench.url) as connection:

        def note(name: str, seconds: float | None) -> None:
            corpus.read_image_ids()
            way = SqlFunction(bench.url, bench.ef_search)
            times, recall = bench.measure(way)
            way.close()
            count = connection.execute("SELECT count(*) FROM siglip.segments").fetchone()
            table.append(
                [
                    name,
                    seconds,
                    count and count[0],
                    times.p50,
                    times.p95,
                    times.p99,
                    times.processor,
                    recall,
                    recall.lost,
                ]
            )

        note("before", None)
        started = time.perf_counter()
        connection.execute("DELETE FROM siglip.images WHERE image_id = ANY (%s)", [image_ids])
        note("deleted, vectors still there", time.perf_counter() - started)
        started = time.perf_counter()
        steps += maintain(connection)
        seconds = time.perf_counter() - started
        vacuum(connection)
        note("maintained", seconds)
        started = time.perf_counter()
        bench.store(connection, half)
        note("added again", time.perf_counter() - started)
        started = time.perf_counter()
        steps += maintain(connection)
        seconds = time.perf_counter() - started
        vacuum(connection)
        note("maintained again", seconds)
    bench.has_plain_tables = False
    print_table(["", "took s", "segments", "p50 ms", "p95", "p99", "computing", "recall@10", "lost"], table)
    print("Steps of maintenance that built something:")
    for took_s, sentence in steps:
        if not sentence.startswith("Removed"):
            print(f"  {took_s:6.1f} s  {sentence}")
    print()
