"""Each shape of filter: times and recall of the SQL function, beside the bare query with the same condition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bench import Bench
from .measuring import print_table, print_title
from .vectors import COLLECTIONS, TOPS
from .ways import ALL, Bare, Narrowing, SqlFunction

IDS = 1_000
WANTED_RECALL = 0.98
WANTED_MS = {True: 5.0, False: 40.0}  # whether many rows pass
LARGE_ROWS, LARGE_WANTED_MS = 500_000, 60.0  # from so many rows on, whatever passes


@dataclass(frozen=True, slots=True)
class Shape:
    """A filter, which may be another one for each query.

    Attributes:
        name: What the table says.
        narrow: Gives what narrows a query, by its number.
        passes: Gives (N,) which rows may be found, stored or not.
    """

    name: str
    narrow: Callable[[int], Narrowing]
    passes: Callable[[int], NDArray[np.bool_]]


def measure_filters(bench: Bench) -> None:
    """Print times and recall of each shape."""
    print_title("Filters, one connection")
    bench.build_plain_tables()
    ways = [Bare(bench.url, bench.ef_search), SqlFunction(bench.url, bench.ef_search)]
    stored = bench.corpus.is_stored
    is_large = stored.sum() >= LARGE_ROWS
    table = []
    for shape in make_shapes(bench):
        narrowings = [shape.narrow(number) for number in range(bench.query_count)]
        passes = [shape.passes(number) & stored for number in range(bench.query_count)]
        share = float(np.mean([mask.sum() for mask in passes])) / stored.sum()
        row: list[object] = [shape.name, f"{100 * share:.2f}"]
        for way in ways:
            times, recall = bench.measure(way, narrowings, passes)
            row += [times.p50, times.p95, times.processor, recall, recall.lost]
        wanted_ms = LARGE_WANTED_MS if is_large else WANTED_MS[share >= 0.5]
        has_missed = recall.mean < WANTED_RECALL or times.p50 > wanted_ms
        table.append([*row, "missed" if has_missed else ""])
    header = ["p50 ms", "p95", "computing", "recall@10", "lost"]
    wanted = (
        f"p50 {LARGE_WANTED_MS} ms"
        if is_large
        else f"p50 {WANTED_MS[True]} ms where half or more pass, else {WANTED_MS[False]} ms"
    )
    print(f"Wanted of search_images: recall@10 {WANTED_RECALL}; {wanted}.")
    print_table(["", "passes %", *[f"bare {header[0]}", *header[1:]], *[f"ours {header[0]}", *header[1:]], ""], table)
    for way in ways:
        way.close()


def make_shapes(bench: Bench) -> list[Shape]:
    """All shapes, from none to a list of ids."""
    corpus = bench.corpus
    draws, tops = corpus.images.draws, corpus.images.tops
    names = [name for name, _ in COLLECTIONS]
    far = find_far_clusters(bench)
    image_of_row = corpus.image_of_row
    generator = np.random.default_rng(11)
    stored = np.flatnonzero(corpus.is_stored)
    listed = [generator.choice(stored, min(IDS, len(stored)), replace=False) for _ in range(bench.query_count)]

    def one_of(name: str, size: int, values: NDArray[np.int64]) -> Shape:
        return Shape(
            name,
            lambda number: Narrowing(filter={name: number % size}),
            lambda number: values == number % size,
        )

    return [
        Shape("none", lambda _: ALL, lambda _: np.ones(len(draws), bool)),
        one_of("half", 2, draws // 100 % 2),
        one_of("tenth", 10, draws % 10),
        one_of("hundredth", 100, draws % 100),
        one_of("thousandth", 1000, draws),
        Shape(
            "half and tenth",
            lambda number: Narrowing(filter={"half": number % 2, "tenth": number // 2 % 10}),
            lambda number: (draws // 100 % 2 == number % 2) & (draws % 10 == number // 2 % 10),
        ),
        Shape(
            "the query's own cluster",
            lambda number: Narrowing(filter={"album": int(corpus.query_tops[number])}),
            lambda number: tops == corpus.query_tops[number],
        ),
        Shape(
            "a cluster far from the query",
            lambda number: Narrowing(filter={"album": int(far[number])}),
            lambda number: tops == far[number],
        ),
        Shape(
            f"collection {names[2]}",
            lambda _: Narrowing(collection=names[2]),
            lambda _: corpus.images.collections == 2,
        ),
        Shape(
            f"collection {names[1]} and hundredth",
            lambda number: Narrowing(collection=names[1], filter={"hundredth": number % 100}),
            lambda number: (corpus.images.collections == 1) & (draws % 100 == number % 100),
        ),
        Shape(
            f"a list of {IDS:,} ids",
            lambda number: Narrowing(image_ids=image_of_row[listed[number]].tolist()),
            lambda number: np.isin(np.arange(len(draws)), listed[number]),
        ),
    ]


def find_far_clusters(bench: Bench) -> NDArray[np.int64]:
    """For each query the cluster of the first level whose rows are least like it, on average."""
    tops = bench.corpus.images.tops
    means = np.stack([bench.corpus.similarities[:, tops == top].mean(axis=1) for top in range(TOPS)])
    far: NDArray[np.int64] = means.argmin(axis=0)
    return far
