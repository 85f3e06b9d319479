"""What a worker has for images, in this process, with an embedder that may fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import Database, workers
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.sources.settings import WHOLE_DISK
from siglip_workers.device import Device
from siglip_workers.ingest.feeder import Feeder
from siglip_workers.ingest.stream import Stream

SETTINGS = Settings(
    batch_size=4, chunk_size=100, lease_s=30, allowed_roots=WHOLE_DISK, allowed_hosts=frozenset({"127.0.0.1"})
)


class FragileEmbedder:
    """The tiny model, on a device that fails for batches with certain images, or for all."""

    def __init__(self, embedder: TorchEmbedder) -> None:
        self.info = embedder.info
        self.batch_size = embedder.batch_size
        self.prepare_image = embedder.prepare_image
        self.choose_size = embedder.choose_size
        self.batches: list[int] = []
        self.fails_for: set[int] = set()
        self.is_broken = False
        self.device = "cpu"
        self.staged: list[int] = []
        self._embedder = embedder

    @property
    def embedded(self) -> int:
        return sum(self.batches)

    def embed_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if self.is_broken or self.fails_for & {int(image.sum()) for image in pixels}:
            raise RuntimeError("illegal memory access")
        self.batches.append(len(pixels))
        return self._embedder.embed_pixels(pixels)

    def stage_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.uint8]]:
        self.staged.append(len(pixels))
        return pixels

    embed_staged = embed_pixels


class LocalWorker:
    """What a worker process has for images; `stops` has what would end it. It claims when it is told to, by `work`."""

    def __init__(self, database: Database, embedder: FragileEmbedder, model_id: int, **settings: Any) -> None:
        self.database = database
        self.model_id = model_id
        self.worker_id = uuid4()
        self.stops: list[str] = []
        chosen = dataclasses.replace(SETTINGS, **settings)
        device = Device(embedder)  # type: ignore[arg-type]
        self.stream = Stream(database, device, model_id, chosen, cores=2, stop_worker=lambda: self.stops.append("stop"))
        self.feeder = Feeder(
            database,
            self.stream,
            self.worker_id,
            model_id,
            chosen,
            stop_worker=lambda: self.stops.append("stop"),
            end_worker=lambda: self.stops.append("end"),
        )
        self.beat()

    def beat(self, *, lease_s: float = 60) -> None:
        with self.database.connection() as connection:
            workers.renew_worker(connection, self.worker_id, self.model_id, node="test@host", lease_s=lease_s)

    def claim(self) -> None:
        """Claim once, and leave the rest to the stream's threads."""
        self.feeder.look_for_suspects()
        self.feeder.feed()

    def work(self) -> dict[str, int]:
        """Claim once, and wait until it is all closed."""
        progress = self.stream.progress
        before = progress.done, progress.failed
        self.claim()
        assert progress.wait_until(0, 60)
        return {"done": progress.done - before[0], "failed": progress.failed - before[1]}


@contextmanager
def opened_worker(
    database: Database, embedder: FragileEmbedder, model_id: int, **settings: Any
) -> Iterator[LocalWorker]:
    worker = LocalWorker(database, embedder, model_id, **settings)
    try:
        yield worker
    finally:
        worker.stream.close()
