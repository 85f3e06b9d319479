"""A PostgreSQL of the benchmark's own in a temporary folder, and what the figures were measured on."""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.postgres import Postgres

MEGABYTE = 2**20
TABLE_AND_INDEX_BYTES = 4_000  # a row of 768 halves with its part of an HNSW index
COPIES = 3  # ours, the bare one, and what a merge builds


def choose_settings(rows: int) -> dict[str, str]:
    """Settings under which `rows` vectors fit memory twice, as far as the machine has it.

    The disk is left out of the figures: nothing waits for it.
    """
    memory = psutil.virtual_memory().total
    buffers = min(max(rows * TABLE_AND_INDEX_BYTES * COPIES, 512 * MEGABYTE), memory // 3)
    building = min(max(rows * TABLE_AND_INDEX_BYTES, 512 * MEGABYTE), memory // 5)
    return {
        "shared_buffers": f"{buffers // MEGABYTE}MB",
        "maintenance_work_mem": f"{building // MEGABYTE}MB",
        "max_parallel_maintenance_workers": str(count_cores()),
        "work_mem": "64MB",
        "effective_cache_size": f"{memory // 2 // MEGABYTE}MB",
        "random_page_cost": "1.1",
        "max_wal_size": "16GB",
        "fsync": "off",
        "synchronous_commit": "off",
    }


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def run_server(settings: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Start PostgreSQL; gives the URL of an empty database and a folder. Both are gone at the end."""
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        postgres = Postgres(DataFolder.at(Path(folder) / "home"), settings)
        postgres.start()
        try:
            yield postgres.url.rpartition("/")[0] + "/postgres", Path(folder)
        finally:
            postgres.stop()


def describe_machine(url: str, settings: dict[str, str]) -> str:
    """The processor, the versions and the settings, in lines to print."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT current_setting('server_version'), (SELECT extversion FROM pg_extension WHERE extname = 'vector')"
        ).fetchone()
    postgres, pgvector = row or ("?", "?")
    gigabytes = psutil.virtual_memory().total / 2**30
    return (
        f"{_find_processor()}, {count_cores()} cores, {gigabytes:.0f} GB; PostgreSQL {postgres}, pgvector {pgvector}, "
        f"Python {platform.python_version()}\n" + ", ".join(f"{name} = {value}" for name, value in settings.items())
    )


def _find_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
