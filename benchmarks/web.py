"""What the web API does: searches with new texts and embeddings, by several users at once.

    python benchmarks/web.py [--images 10000] [--seconds 3] [--rounds 2]

Prints requests a second, p50 and p99 of POST /v1/search with texts that nobody asked before,
by 1, 8 and 32 users, with queries that arrive together embedded together and without; and of /v1/embeddings. Both ways
take turns in one run on one database, so that their ratio means something on a machine that does other things, too.
Users, server, model and PostgreSQL share the machine.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from engine.server import choose_settings, describe_machine, run_server

from siglip_ingest import SiglipClient
from siglip_ingest.active_model import enter_model
from siglip_ingest.db.schema import migrate
from siglip_ingest.embedders.batching import BatchingEmbedder
from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.types import Embedder
from siglip_ingest.web.app import create_app

WORDS = ("red", "blue", "green", "large", "small", "circle", "square", "boat", "tree", "lake", "dog", "night", "snow")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo", help="name of the checkpoint")
    parser.add_argument("--images", type=int, default=10_000, help="vectors that are searched")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=2, help="turns that each way takes")
    arguments = parser.parse_args()
    inner = load_embedder(arguments.model, Settings())
    inner.load()
    server_settings = choose_settings(arguments.images)
    with run_server(server_settings) as (url, folder):
        migrate(url)
        settings = Settings(database_url=url, home=folder / "web", model=arguments.model)
        fill(settings, inner, arguments.images)
        print(describe_machine(url, server_settings))
        print(f"model {arguments.model}, {arguments.images:,} images")
        with serve(settings, BatchingEmbedder(inner)) as together, serve(settings, inner) as alone:
            for name, send in (("search, a new text each", search), ("embeddings, a text each", embed)):
                print(f"\n{name}:")
                for users in (1, 8, 32):
                    compare(send, {"together": together, "one by one": alone}, users, arguments)


def compare(send: Callable[[httpx.Client, str], None], urls: dict[str, str], users: int, arguments: Any) -> None:
    """Let both ways take turns, and print a line for each."""
    times: dict[str, list[float]] = {way: [] for way in urls}
    for turn in range(arguments.rounds):
        for way in list(urls)[:: 1 if turn % 2 == 0 else -1]:
            times[way] += measure(send, urls[way], users, arguments.seconds)
    rates = {way: len(found) / (arguments.rounds * arguments.seconds) for way, found in times.items()}
    for way, found in times.items():
        p50, p99 = (1000 * float(np.percentile(found, share)) for share in (50, 99))
        print(f"  {users:2} users, {way:10}: {rates[way]:6.0f} requests/s, p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")
    p50s = {way: statistics.median(found) for way, found in times.items()}
    print(
        f"  {users:2} users, ratio     : {rates['together'] / rates['one by one']:6.2f} times the requests, "
        f"{p50s['together'] / p50s['one by one']:.2f} times the p50"
    )


def measure(send: Callable[[httpx.Client, str], None], url: str, users: int, seconds: float) -> list[float]:
    """Seconds of each request that users made who ask one after the other."""

    def ask(user: int) -> list[float]:
        random, found = np.random.default_rng([user, time.monotonic_ns()]), []
        with httpx.Client(base_url=url, timeout=60) as client:
            send(client, "a warm start")
            started.wait()
            end = time.perf_counter() + seconds
            while (begin := time.perf_counter()) < end:
                send(client, f"{' '.join(random.choice(WORDS, 3))} {random.integers(10**6)}")
                found.append(time.perf_counter() - begin)
        return found

    started = threading.Barrier(users)
    with ThreadPoolExecutor(users) as threads:
        return [each for found in threads.map(ask, range(users)) for each in found]


def search(client: httpx.Client, text: str) -> None:
    """One search, as the gallery makes it."""
    client.post("/v1/search", json={"query": text, "limit": 20}).raise_for_status()


def embed(client: httpx.Client, text: str) -> None:
    """One text, as OpenAI's client asks."""
    client.post("/v1/embeddings", json={"input": text, "encoding_format": "base64"}).raise_for_status()


def fill(settings: Settings, embedder: TorchEmbedder, count: int) -> None:
    """Store the model, and so many unit vectors as those of images."""
    rows = np.random.default_rng(0).normal(size=(count, embedder.info.dimension)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with tempfile.TemporaryDirectory() as folder, SiglipClient(settings=settings, embedder=embedder) as client:
        vectors, items = Path(folder) / "vectors.npy", Path(folder) / "items.jsonl"
        np.save(vectors, rows)
        items.write_text("".join(f'{{"uri": "file:///{number}.jpg"}}\n' for number in range(count)))
        enter_model(client.database, embedder.info)
        client.import_vectors(vectors, items, model=settings.model or "demo", progress=False)


@contextmanager
def serve(settings: Settings, embedder: Embedder) -> Iterator[str]:
    """Address of a real server in this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    app = create_app(SiglipClient(settings=settings, embedder=embedder))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
