"""The kinds of index: build time, bytes a row, latency and recall of each."""

from __future__ import annotations

import time

from .bench import Bench, maintain
from .measuring import print_table, print_title
from .ways import SqlFunction, connect

KINDS = ("bit_rerank", "halfvec")  # the last is the default, which stays


def measure_kinds(bench: Bench) -> None:
    """Build each kind anew and search it."""
    print_title("Kinds of index")
    table = []
    for kind in KINDS:
        with connect(bench.url) as connection:
            started = time.perf_counter()
            connection.execute("SELECT siglip.create_index(model_id => %s, kind => %s)", [bench.model_id, kind])
            maintain(connection)
            seconds = time.perf_counter() - started
            row = connection.execute(
                "SELECT coalesce(sum(index_bytes), 0)::bigint, sum(table_bytes)::bigint, count(*),"
                " count(*) FILTER (WHERE index_kind = %s) FROM siglip.index_status WHERE model_id = %s",
                [kind, bench.model_id],
            ).fetchone()
        index_bytes, table_bytes, segments, built = row or (0, 0, 0, 0)
        stored = int(bench.corpus.is_stored.sum())
        way = SqlFunction(bench.url, bench.ef_search)
        times, recall = bench.measure(way)
        way.close()
        sizes = int(index_bytes) / stored, int(table_bytes) / stored
        speed = times.p50, times.p95, times.p99, times.processor, recall, recall.lost
        table.append([kind, f"{built} of {segments}", seconds, stored / seconds, *sizes, *speed])
    header = ["segments", "build s", "rows/s", "index bytes/row", "table bytes/row"]
    print_table(["", *header, "p50 ms", "p95", "p99", "computing", "recall@10", "lost"], table)
