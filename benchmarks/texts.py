"""How long a new text takes in plain SQL, and how that compares with the same question through Celery.

    python benchmarks/texts.py            # about 6 minutes, most of it idle
    python benchmarks/texts.py --quick    # about 2

The worker is a real one, on the demo checkpoint, with a PostgreSQL and a Redis of its own in a temporary folder; all of
it runs on the same machine. Each text is a new one: nothing comes from the cache.

First, before anything else runs, the text tower alone embeds one text at a time in this process. Its median is
subtracted from what `SELECT siglip.embed_text(...)` takes in one session. Then so many askers at once, each a thread
that has its next question ready when the last one is answered: through the database, and with the Celery task
`siglip.embed_texts`. The two ways take turns.
"""

from __future__ import annotations

import argparse
import itertools
import platform
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import torch

from siglip_ingest.broker.tasks import TaskClient, decode_array, queries_queue
from siglip_ingest.services import EmbeddedServices
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.siglip.embedder import TorchEmbedder

ASK = "SELECT siglip.embed_text(%s)::real[]"
IDLE_S = 11.0  # a listener looks less often after ten seconds without a question
ASKERS = (1, 16, 64)
ROUNDS = 5
WARM_UP = 20
COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "pink", "brown"]
_numbers = itertools.count()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer questions")
    arguments = parser.parse_args()
    print(
        f"demo checkpoint, {torch.get_num_threads()} torch threads, torch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )
    tower_s = time_tower(100 if arguments.quick else 400)
    print(f"the text tower alone: p50 {milliseconds(tower_s)} ms")
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        settings = Settings(home=Path(folder) / "home", model="demo")
        with EmbeddedServices(settings) as services:
            services.ensure_worker(model="demo")
            wait_for_worker(services.database_url)
            time_one_session(services.database_url, tower_s, is_quick=arguments.quick)
            time_many_askers(services.database_url, services.broker_url, is_quick=arguments.quick)


def time_tower(repeats: int) -> float:
    """Median of the seconds that the text tower takes for one new text."""
    embedder = TorchEmbedder.from_checkpoint(resolve_checkpoint("demo"), name="demo", device="cpu")
    return percentile(time_each(lambda: embedder.embed_texts([new_text()]), repeats), 50)


def time_one_session(database_url: str, tower_s: float, *, is_quick: bool) -> None:
    """Print what a session waits above the tower's own time, while questions come and after idle times."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def ask() -> object:
            return connection.execute(ASK, [new_text()]).fetchone()

        print("SELECT siglip.embed_text(new text), above the tower's p50:")
        describe("while questions come", time_each(ask, 100 if is_quick else 400), tower_s)
        asked = []
        for _ in range(6 if is_quick else 24):
            time.sleep(IDLE_S)
            asked.append(time_once(ask))
        describe(f"after {IDLE_S:g} s without any", asked, tower_s)


def time_many_askers(database_url: str, broker_url: str, *, is_quick: bool) -> None:
    """Print how both ways fare with one asker and with many."""
    print("askers  way        p50 ms   p95 ms  texts/s")
    ways = {"database": ask_database(database_url), "Celery": ask_celery(database_url, broker_url)}
    for askers in ASKERS:
        found: dict[str, list[float]] = {way: [] for way in ways}
        elapsed = dict.fromkeys(ways, 0.0)
        for _ in range(2 if is_quick else ROUNDS):
            for way, make in ways.items():
                seconds, elapsed_s = ask_at_once(make, askers, max(2 * askers, 100))
                found[way] += seconds
                elapsed[way] += elapsed_s
        for way, seconds in found.items():
            print(
                f"{askers:6}  {way:8} {milliseconds(percentile(seconds, 50)):>8} "
                f"{milliseconds(percentile(seconds, 95)):>8} {len(seconds) / elapsed[way]:8.0f}"
            )


def new_text() -> str:
    """A text that nobody asked before."""
    number = next(_numbers)
    return f"a {COLOURS[number % 8]} circle above a {COLOURS[number // 8 % 8]} square, number {number}"


def describe(name: str, asked: list[float], tower_s: float) -> None:
    """Print what questions took above the tower's own time."""
    above = [seconds - tower_s for seconds in asked]
    print(f"  {name:26} p50 {milliseconds(percentile(above, 50))} ms, p95 {milliseconds(percentile(above, 95))} ms")


def time_each(action: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each run; the first ones warm up and don't count."""
    return [time_once(action) for _ in range(repeats + WARM_UP)][WARM_UP:]


def time_once(action: Callable[[], object]) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def ask_database(database_url: str) -> Callable[[], Callable[[str], object]]:
    """What makes an asker that has a session of its own."""

    def make() -> Callable[[str], object]:
        connection = psycopg.connect(database_url, autocommit=True)
        return lambda text: connection.execute(ASK, [text], binary=True).fetchone()

    return make


def ask_celery(database_url: str, broker_url: str) -> Callable[[], Callable[[str], object]]:
    """What makes an asker; all of them share one client, as the threads of a program do."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT model_id FROM siglip.models WHERE is_active").fetchone()
    assert row is not None
    queue, client = queries_queue(row[0]), TaskClient(broker_url)

    def ask(text: str) -> object:
        return decode_array(client.call("siglip.embed_texts", [text], queue=queue, timeout_s=60)["embeddings"])

    return lambda: ask


def ask_at_once(make: Callable[[], Callable[[str], object]], askers: int, questions: int) -> tuple[list[float], float]:
    """Ask with so many threads; returns seconds of each question, and of all of them together."""
    barrier = threading.Barrier(askers + 1)

    def run() -> list[float]:
        ask = make()
        ask(new_text())  # opens what has to be opened
        barrier.wait()
        found = []
        for _ in range(questions // askers):
            started = time.perf_counter()
            ask(new_text())
            found.append(time.perf_counter() - started)
        return found

    with ThreadPoolExecutor(askers) as threads:
        running = [threads.submit(run) for _ in range(askers)]
        barrier.wait()
        started = time.perf_counter()
        found = [seconds for future in running for seconds in future.result()]
        return found, time.perf_counter() - started


def wait_for_worker(database_url: str, *, timeout_s: float = 120.0) -> None:
    """Wait until a worker of the active model listens."""
    give_up_at = time.monotonic() + timeout_s
    with psycopg.connect(database_url, autocommit=True) as connection:
        while True:
            try:
                connection.execute(ASK, ["a first text"])
            except psycopg.Error:
                if time.monotonic() > give_up_at:
                    raise
                time.sleep(0.2)
            else:
                return


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent of them don't exceed."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def milliseconds(seconds: float) -> str:
    """Write seconds as milliseconds."""
    return f"{1000 * seconds:.1f}"


if __name__ == "__main__":
    main()
