"""What the tests of workers share: a worker's process, images good and bad, and questions to the ledger."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from siglip_ingest.db import Database, models
from siglip_ingest.siglip.checkpoint.names import model_name
from siglip_ingest.siglip.embedder import TorchEmbedder
from tests.programs import wait_until

ROOT = Path(__file__).parents[2]


class WorkerProcess:
    """`python -m <module>` with settings in its environment and its log in a file."""

    def __init__(self, module: str, log: Path, settings: Mapping[str, object]) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
        environment |= {"SIGLIP_DTYPE": "float32"}  # not what this machine happens to be fast in
        environment |= {f"SIGLIP_{name.upper()}": str(value) for name, value in settings.items() if value is not None}
        environment |= {"PYTHONUNBUFFERED": "1"}
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *module.split()],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_until_ready(self) -> None:
        wait_until(lambda: "Ready" in self.log or self._process.poll() is not None, timeout_s=60)
        assert "Ready" in self.log, self.log

    def wait(self, timeout_s: float = 30) -> int:
        return self._process.wait(timeout_s)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash or the kernel would."""
        self._process.kill()
        self._process.wait()


def register_checkpoint(database: Database, folder: Path) -> int:
    with database.connection() as connection:
        model_id = models.register_model(connection, model_name(str(folder)))
        models.activate_model(connection, model_id)
        return model_id


def write_image(path: Path, seed: int, *, size: tuple[int, int] = (60, 40)) -> Path:
    """Write an image of coloured noise that no other seed gives."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(path)
    return path


def write_images(folder: Path, count: int, *, size: tuple[int, int] = (60, 40)) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [write_image(folder / f"{seed:04}.png", seed, size=size) for seed in range(count)]


def load_tiny_embedder(folder: Path, **options: Any) -> TorchEmbedder:
    return TorchEmbedder.from_checkpoint(folder, name=model_name(str(folder)), device="cpu", **options)


def fetch_all(database: Database, statement: str, *parameters: object) -> list[tuple[object, ...]]:
    with database.connection() as connection:
        return connection.execute(statement, parameters).fetchall()  # type: ignore[call-overload]


def count_embeddings(database: Database) -> int:
    (count,) = fetch_all(database, "SELECT count(*) FROM siglip.image_embeddings")[0]
    assert isinstance(count, int)
    return count


def items_by_state(database: Database) -> dict[str, int]:
    rows = fetch_all(database, "SELECT state::text, count(*) FROM siglip.ingest_items GROUP BY state")
    return {str(state): int(str(count)) for state, count in rows}
