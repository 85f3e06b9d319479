"""While a loader writes, while segments are sealed and merged, and after: what a search finds, and how long all wait.

The images are there beforehand, as they are when they were enqueued; what is loaded are their vectors. Four processes
share the machine: one searches, with a short pause between two searches; one loads; one maintains the segments; one
looks every few milliseconds how long somebody has been waiting for a lock. "Longest" is the longest
statement, in which a busy processor is the most; "on a lock" is the part for which PostgreSQL itself made it wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bench import Bench, vacuum
from .corpus import in_batches, open_images, store_images, store_vectors
from .exact import compute_recall
from .measuring import CONTEXT, Recall, Task, Times, print_table, print_title
from .ways import LIMIT, SqlFunction, connect

ROWS_A_SECOND = 20_000
BATCH = 1_000
TRICKLE = 10  # rows, ten times a second, while segments are merged: a COPY to measure
TRICKLE_PAUSE_S = 0.1
SEARCH_PAUSE_S = 0.005
LOCK_PAUSE_S = 0.005
REST_S = 3.0
JUDGED = 300  # searches of a phase whose recall is computed
WANTED_LOCK_MS = 100.0
WAITING = """
SELECT a.application_name, 1000 * max(extract(epoch FROM clock_timestamp() - l.waitstart))
FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
WHERE NOT l.granted AND l.waitstart IS NOT NULL AND a.application_name IN ('searcher', 'loader')
GROUP BY a.application_name
"""


@dataclass(frozen=True, slots=True)
class Search:
    """One search: when it began, what it took, its query, how many rows the loader had committed, and what it found."""

    started: float
    took_ms: float
    query: int
    visible: int
    found: list[int]


@dataclass(frozen=True, slots=True)
class Copied:
    """One COPY of the loader: when it began and ended, its rows, and what it took without making the bytes."""

    started: float
    ended: float
    rows: int
    copy_ms: float


@dataclass(frozen=True, slots=True)
class Source:
    """What the loader writes: the folder of the vectors, their model, and each row's number and `content_id`."""

    folder: Path
    model_id: int
    rows: NDArray[np.int64]
    content_ids: NDArray[np.int64]


def measure_loading(bench: Bench) -> None:
    """Run the phases and print them."""
    print_title(f"While {bench.load_rows:,} rows are loaded, sealed and merged")
    stop, written = CONTEXT.Event(), CONTEXT.Value("q", 0)
    is_loaded, is_merged = CONTEXT.Event(), CONTEXT.Event()
    rows = np.arange(bench.rows, len(bench.corpus.images.vectors))
    with connect(bench.url) as connection:
        content_ids = np.concatenate(
            [store_images(connection, bench.corpus.images, batch) for batch in in_batches(rows)]
        )
        vacuum(connection)
    begun = time.perf_counter()
    searcher = Task(search, bench.url, bench.ef_search, bench.corpus.queries, written, stop)
    watcher = Task(watch_locks, bench.url, stop)
    maintainer = Task(keep_maintaining, bench.url, is_loaded, is_merged)
    source = Source(bench.folder, bench.model_id, rows, content_ids)
    loader = Task(load, bench.url, source, bench.load_rows, written, is_loaded, is_merged)
    copied: list[Copied] = loader.result()
    merged = time.perf_counter()
    time.sleep(REST_S)
    stop.set()
    searches: list[Search] = searcher.result()
    waits: list[tuple[float, str, float]] = watcher.result()
    steps: list[tuple[float, float, str, int]] = maintainer.result()
    bench.corpus.read_image_ids()
    loaded = next(copy.ended for copy, total in with_totals(copied) if total >= bench.load_rows)
    first = copied[0].started
    phases = [
        ("before", begun, first),
        (f"loading at {bench.load_rows / (loaded - first):,.0f} rows/s", first, loaded),
        ("sealing and merging", loaded, merged),
        ("at rest again", merged, float("inf")),
    ]
    print_phases(bench, phases, searches, copied, waits)
    most = max((segments for _, _, _, segments in steps), default=None)
    print(f"{len(steps)} steps of maintenance" + (f", {most} segments at most:" if steps else "."))
    for started, took_s, sentence, segments in steps:
        print(f"  {started - first:6.1f} s  {took_s:6.1f} s  {sentence} ({segments} segments)")
    print()
    with connect(bench.url) as connection:
        check_vectors(connection, bench)
        connection.execute(
            "DELETE FROM siglip.images AS i"
            " WHERE NOT EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.content_id = i.content_id)"
        )
        vacuum(connection)
    bench.has_plain_tables = False
    bench.print_segments()


def print_phases(
    bench: Bench,
    phases: list[tuple[str, float, float]],
    searches: list[Search],
    copied: list[Copied],
    waits: list[tuple[float, str, float]],
) -> None:
    """A row a phase."""
    table = []
    for name, start, end in phases:
        own = [one for one in searches if start <= one.started < end]
        copies = [copy.copy_ms for copy in copied if start <= copy.started < end]
        times, copy_times = Times.of([one.took_ms for one in own]), Times.of(copies)
        locks = {
            who: max((ms for when, waiter, ms in waits if waiter == who and start <= when < end), default=0.0)
            for who in ("searcher", "loader")
        }
        judged = own[:: max(1, len(own) // JUDGED)]
        recalls = [recall_of(bench, one) for one in judged]
        recall = Recall.of(recalls)
        missed = "missed" if max(locks.values()) > WANTED_LOCK_MS else ""
        table.append(
            [
                *(name, times.count, times.p50, times.p95, times.p99, times.longest, locks["searcher"], recall),
                *(copy_times.count, copy_times.p50, copy_times.longest, locks["loader"], missed),
            ]
        )
    print(f"Wanted: at most {WANTED_LOCK_MS:.0f} ms on a lock.")
    header = ["searches", "p50 ms", "p95", "p99", "longest", "on a lock", "recall@10"]
    print_table(["", *header, "COPYs", "p50 ms", "longest", "on a lock", ""], table)


def recall_of(bench: Bench, search: Search) -> float:
    """Recall among the rows that were there when a search began; what came meanwhile may stand in their place."""
    rows = bench.corpus.row_of_image[search.found].tolist()
    similarities = bench.corpus.similarities[search.query]
    visible = np.zeros(len(similarities), bool)
    visible[: bench.rows + search.visible] = True
    visible[rows] = True
    return compute_recall(rows, similarities, visible, LIMIT)


def with_totals(copied: list[Copied]) -> list[tuple[Copied, int]]:
    """Each with the rows that were written until its end."""
    return list(zip(copied, np.cumsum([copy.rows for copy in copied]).tolist(), strict=True))


def check_vectors(connection: Any, bench: Bench) -> None:
    """Make sure that nothing was lost or doubled.

    Raises:
        SystemExit: If the vectors aren't those of the images.
    """
    vectors, contents = connection.execute(
        "SELECT count(*), count(DISTINCT content_id) FROM siglip.image_embeddings"
    ).fetchone()
    expected = int(bench.corpus.is_stored.sum())
    if (vectors, contents) != (expected, expected):
        raise SystemExit(f"{expected:,} images have {vectors:,} vectors of {contents:,} contents.")


def search(url: str, ef_search: int, queries: NDArray[np.float32], written: Any, stop: Any) -> list[Search]:
    """A process: search until it is told to stop."""
    way = SqlFunction(url, ef_search)
    way.connection.execute("SET application_name = 'searcher'")
    searches: list[Search] = []
    while not stop.is_set():
        query = len(searches) % len(queries)
        visible, started = written.value, time.perf_counter()
        found = way.search(queries[query])
        searches.append(Search(started, 1000 * (time.perf_counter() - started), query, visible, found))
        time.sleep(SEARCH_PAUSE_S)
    return searches


def load(url: str, source: Source, count: int, written: Any, is_loaded: Any, is_merged: Any) -> list[Copied]:
    """A process: write `count` rows at the wanted rate, then a few at a time until the segments are merged."""
    vectors = open_images(source.folder).vectors
    copied: list[Copied] = []
    with setting(is_loaded), connect(url) as connection:

        def copy(batch: NDArray[np.int64]) -> None:
            started = time.perf_counter()
            copy_ms = store_vectors(connection, source.model_id, source.content_ids[batch], vectors[source.rows[batch]])
            written.value += len(batch)
            copied.append(Copied(started, time.perf_counter(), len(batch), copy_ms))

        connection.execute("SET application_name = 'loader'")
        time.sleep(REST_S)  # the searcher alone, to compare with
        begun = time.perf_counter()
        for batch in in_batches(np.arange(count), BATCH):
            copy(batch)
            time.sleep(max(0.0, begun + written.value / ROWS_A_SECOND - time.perf_counter()))
        is_loaded.set()
        for batch in in_batches(np.arange(count, len(source.rows)), TRICKLE):
            if is_merged.is_set():
                break
            copy(batch)
            time.sleep(TRICKLE_PAUSE_S)
        is_merged.wait()
    return copied


def keep_maintaining(url: str, is_loaded: Any, is_merged: Any) -> list[tuple[float, float, str, int]]:
    """A process: maintain the segments; once all is loaded, as at rest, until nothing is left to do."""
    steps: list[tuple[float, float, str, int]] = []
    with setting(is_merged), connect(url) as connection:
        while not is_merged.is_set():
            was_loaded = is_loaded.is_set()
            connection.execute(f"SET siglip.rest_after = '{0 if was_loaded else 3600} s'".encode())
            started = time.perf_counter()
            row = connection.execute("SELECT siglip.maintain()").fetchone()
            took_s = time.perf_counter() - started
            if row and row[0]:
                count = connection.execute("SELECT count(*) FROM siglip.segments").fetchone()
                steps.append((started, took_s, row[0], count[0] if count else 0))
            elif was_loaded:
                is_merged.set()
            else:
                time.sleep(0.05)
    return steps


def watch_locks(url: str, stop: Any) -> list[tuple[float, str, float]]:
    """A process: note who waits for a lock, since how many milliseconds."""
    waits: list[tuple[float, str, float]] = []
    with connect(url) as connection:
        while not stop.is_set():
            rows = connection.execute(WAITING).fetchall()
            waits += [(time.perf_counter(), who, float(ms)) for who, ms in rows if ms is not None]
            time.sleep(LOCK_PAUSE_S)
    return waits


@contextmanager
def setting(event: Any) -> Iterator[None]:
    """Set an event at the end of a block, however it ends: others wait for it."""
    try:
        yield
    finally:
        event.set()
