"""How fast and how right searches are: at rest, under filters, by label, while rows are written, sealed and deleted.

    python benchmarks/search.py                              # 100,000 vectors of 768 elements, some minutes
    python benchmarks/search.py --rows 1000000               # the table in docs/numbers.md
    python benchmarks/search.py --only filters,labels        # some of the sections

Each section stands beside the query that one writes by hand with psycopg and pgvector, on a table of images and one of
vectors, in the same run. What was found is compared with the exact answer, computed by numpy on the same half-precision
vectors. "computing" is the median time that the server process was on the processor, in ms: machines are shared. "lost"
counts the queries of which less than half was found: the graph never reached the region that they lie in. PostgreSQL is
the script's own, in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping

from engine.bench import Bench
from engine.deleting import measure_deleting
from engine.filters import measure_filters
from engine.kinds import measure_kinds
from engine.labels import measure_labels
from engine.latency import measure_latency
from engine.loading import measure_loading
from engine.server import choose_settings, describe_machine, run_server
from engine.throughput import measure_throughput
from engine.vectors import DIMENSION

from siglip_ingest.db.schema import migrate

# In this order, whatever is asked for: the last ones change what is searched.
SECTIONS: Mapping[str, Callable[[Bench], None]] = {
    "latency": measure_latency,
    "throughput": measure_throughput,
    "filters": measure_filters,
    "labels": measure_labels,
    "kinds": measure_kinds,
    "loading": measure_loading,
    "deleting": measure_deleting,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="images at rest")
    parser.add_argument(
        "--load-rows", type=int, help="vectors that the loader writes; by default a third of these, at most 100,000"
    )
    parser.add_argument("--queries", type=int, default=300, help="queries of each measurement")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, by commas: " + ", ".join(SECTIONS))
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    if unknown := [name for name in wanted if name not in SECTIONS]:
        parser.error(f"There is no section {', '.join(unknown)}. There are: {', '.join(SECTIONS)}.")
    settings = choose_settings(arguments.rows)
    with run_server(settings) as (url, folder):
        migrate(url)
        print(describe_machine(url, settings))
        print(f"{arguments.rows:,} vectors of {DIMENSION} elements")
        load_rows = arguments.load_rows or min(arguments.rows // 3, 100_000)
        bench = Bench(url, folder, arguments.rows, load_rows, arguments.queries)
        bench.prepare()
        for name, section in SECTIONS.items():
            if name in wanted:
                section(bench)


if __name__ == "__main__":
    main()
