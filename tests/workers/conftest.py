"""Worker processes for tests, on a tiny checkpoint; each is stopped by its own process id."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from siglip_ingest.db import Database
from tests.checkpoints import write_tiny_checkpoint
from tests.workers.helpers import WorkerProcess, register_checkpoint


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as opened:
        yield opened


@pytest.fixture
def model_id(database: Database, tiny_checkpoint: Path) -> int:
    """The tiny checkpoint's row, active and waiting for a worker to describe it."""
    return register_checkpoint(database, tiny_checkpoint)


@pytest.fixture(scope="session")
def naflex_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny NaFlex SigLIP with random weights, for at most 16 patches of 8 x 8 pixels."""
    return write_tiny_checkpoint(tmp_path_factory.mktemp("naflex_checkpoint"), is_naflex=True)


@pytest.fixture
def start_worker(
    tmp_path: Path, database: Database, database_url: str, broker_url: str, tiny_checkpoint: Path
) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers; keyword arguments are settings, such as `chunk_size=8`."""
    started: list[WorkerProcess] = []

    def start(*, module: str = "siglip_workers", wait: bool = True, **settings: object) -> WorkerProcess:
        defaults: dict[str, object] = {
            "database_url": database_url,
            "broker_url": broker_url,
            "model": tiny_checkpoint,
            "device": "cpu",
            "batch_size": 8,
        }
        worker = WorkerProcess(module, tmp_path / f"worker{len(started)}.log", {**defaults, **settings})
        started.append(worker)
        if wait:
            worker.wait_until_ready()
        return worker

    yield start
    for worker in started:
        worker.kill()
        print(worker.log)  # noqa: T201  # pytest shows it where the test has failed
