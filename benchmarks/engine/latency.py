"""At rest, one connection: the ways to search take turns; times, round trips, recall, and ratios to the bare query."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest import SiglipClient

from .bench import Bench
from .corpus import INFO
from .exact import compute_recall
from .measuring import Clock, Recall, print_table, print_title
from .ways import LIMIT, WAYS, Client, SqlFunction

REPEATS = 5
WANTED = {SqlFunction.name: 1.1, Client.name: 1.3}


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
class Asker:
    """One way to search by the number of a query, and the connection that it goes through."""

    name: str
    search: Callable[[int], list[int]]
    connection: Callable[[], Any]


def measure_latency(bench: Bench) -> None:
    """Print what a search takes each way."""
    print_title("At rest, one connection")
    bench.build_plain_tables()
    corpus, ef_search = bench.corpus, bench.ef_search
    ways = [way(bench.url, ef_search) for way in WAYS.values()]
    bare, function, client = ways
    whole = SiglipClient(database_url=bench.url, embedder=FakeEmbedder(corpus.queries))
    texts = [f"query {number}" for number in range(bench.query_count)]
    new_texts = iter(f"new text {turn} {number}" for turn in range(10**6) for number in range(bench.query_count))

    def by_text(text: str) -> list[int]:
        return [match.image_id for match in whole.search_images(text)]

    for text in texts:
        by_text(text)
    askers = [
        Asker(bare.name, lambda n: bare.search(corpus.queries[n]), bare.borrow),
        Asker(function.name, lambda n: function.search(corpus.queries[n]), function.borrow),
        Asker(client.name, lambda n: client.search(corpus.queries[n]), client.borrow),
        Asker("client, by a text that is known", lambda n: by_text(texts[n]), whole.database.connection),
        Asker(
            "client, by a new text, embedded at no cost", lambda _: by_text(next(new_texts)), whole.database.connection
        ),
    ]
    print(f"hnsw.ef_search = {ef_search}; {bench.query_count} queries, {REPEATS} times in turns, {LIMIT} rows each.")
    report(bench, askers)
    whole.close()
    for way in ways:
        way.close()


def report(bench: Bench, askers: Sequence[Asker]) -> None:
    """Let the askers take turns in random order, and print."""
    recalls: dict[str, list[float]] = {asker.name: [] for asker in askers}
    order = random.Random(7)
    for asker in askers:
        for number in range(10):
            asker.search(number)
    clocks = {}
    for asker in askers:
        with asker.connection() as connection:
            clocks[asker.name] = Clock(connection.info.backend_pid)
    for repeat in range(REPEATS):
        for number in range(bench.query_count):
            for asker in order.sample(askers, len(askers)):
                found = clocks[asker.name].time(asker.search, number)
                if repeat == 0 and "new" not in asker.name:
                    rows = bench.corpus.row_of_image[found].tolist()
                    recalls[asker.name].append(
                        compute_recall(rows, bench.corpus.similarities[number], bench.corpus.is_stored, LIMIT)
                    )
    first = clocks[askers[0].name].times
    table = []
    for asker in askers:
        took = clocks[asker.name].times
        recall = Recall.of(recalls[asker.name])
        wanted = f"<= {WANTED[asker.name]}" if asker.name in WANTED else ""
        speed = took.p50, took.p95, took.p99, took.processor
        ratios = took.p50 / first.p50, took.processor / first.processor
        table.append([asker.name, count_round_trips(asker), *speed, recall, recall.lost, *ratios, wanted])
    header = ["round trips", "p50 ms", "p95", "p99", "computing", "recall@10", "lost"]
    print_table(["", *header, "p50 / bare", "computing / bare", "wanted"], table)


def count_round_trips(asker: Asker) -> int:
    """Count how often one search waits for the server, out of libpq's own trace."""
    with tempfile.TemporaryFile() as trace:
        with asker.connection() as connection:
            connection.pgconn.trace(trace.fileno())
        asker.search(0)
        with asker.connection() as connection:
            pass
        connection.pgconn.untrace()
        trace.seek(0)
        lines = trace.read().decode().splitlines()
    sent = [line.split("\t")[-1].split()[0] for line in lines if "\tF\t" in line]
    return sum(kind in {"Sync", "Query"} for kind in sent)
