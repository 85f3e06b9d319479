"""At rest, several connections: how many searches a second each way gives, each connection in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bench import Bench
from .measuring import CONTEXT, Task, Times, print_table, print_title
from .ways import WAYS

CONNECTIONS = (1, 4, 16)
SECONDS = 4.0


def measure_throughput(bench: Bench) -> None:
    """Print queries a second and latencies from 1, 4 and 16 connections."""
    print_title("At rest, several connections, each in a process of its own")
    bench.build_plain_tables()
    table = []
    for count in CONNECTIONS:
        first = 0.0
        for name in WAYS:
            times, seconds = ask_together(bench, name, count)
            first = first or times.count / seconds
            rate = times.count / seconds
            table.append([f"{count:2} x {name}", rate, times.p50, times.p95, times.p99, rate / first])
    print_table(["connections", "queries/s", "p50 ms", "p95", "p99", "queries/s / bare"], table)


def ask_together(bench: Bench, name: str, count: int) -> tuple[Times, float]:
    """Let `count` processes search for some seconds; returns all their times, and the seconds."""
    barrier = CONTEXT.Barrier(count)
    tasks = [
        Task(ask, name, bench.url, bench.ef_search, bench.corpus.queries, number, barrier) for number in range(count)
    ]
    times_ms: list[float] = []
    seconds = []
    for task in tasks:
        own_times_ms, own_seconds = task.result()
        times_ms += own_times_ms
        seconds.append(own_seconds)
    return Times.of(times_ms), float(np.mean(seconds))


def ask(
    name: str, url: str, ef_search: int, queries: NDArray[np.float32], number: int, barrier: Any
) -> tuple[list[float], float]:
    """One process: search until the time is over, in an order of its own; returns its times in ms, and the seconds."""
    way = WAYS[name](url, ef_search)
    order: Sequence[int] = np.random.default_rng(number).permutation(len(queries)).tolist()
    for query in order[:10]:
        way.search(queries[query])
    barrier.wait(60)
    times_ms: list[float] = []
    started = now = time.perf_counter()
    while now - started < SECONDS:
        way.search(queries[order[len(times_ms) % len(order)]])
        previous, now = now, time.perf_counter()
        times_ms.append(1000 * (now - previous))
    way.close()
    return times_ms, now - started
