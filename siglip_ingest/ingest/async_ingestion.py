"""Follows queued images from an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from siglip_ingest.ingest.ingestion import Ingestion, ProgressBar
from siglip_ingest.process.threads import Threads
from siglip_ingest.types import ImageFailure, IngestCounts


class AsyncIngestion:
    """Images that were queued together, as `Ingestion` follows them; for programs that use asyncio.

    Between two looks at the ledger no thread waits, so that thousands can be followed at once, and a task that follows
    can be cancelled at any time: the images stay queued.
    """

    def __init__(self, ingestion: Ingestion, threads: Threads) -> None:
        self._ingestion = ingestion
        self._threads = threads

    def __repr__(self) -> str:
        return f"Async{self._ingestion!r}"

    @property
    def ingestion_id(self) -> int:
        """Key in `siglip.ingestions`, which keeps it for 30 days."""
        return self._ingestion.ingestion_id

    @property
    def model_id(self) -> int:
        """The model that they are embedded with."""
        return self._ingestion.model_id

    async def image_ids(self) -> list[int]:
        """Keys in `siglip.images`, in the order of the sources, all at once; a source given twice is there once."""
        return await self._threads.run(lambda: self._ingestion.image_ids)

    async def counts(self) -> IngestCounts:
        """How many are queued, in progress, done and failed."""
        return await self._threads.run(self._ingestion.counts)

    async def failures(self) -> list[ImageFailure]:
        """The images that ended as failed, each with a code and a sentence."""
        return await self._threads.run(self._ingestion.failures)

    async def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> IngestCounts:
        """Wait until every image is embedded or has failed; arguments and errors as of `Ingestion.wait`."""
        counts = IngestCounts()
        with ProgressBar(progress) as bar:
            async for counts, pause_s in self._threads.iterate(self._ingestion.poll, timeout_s):
                bar.draw(counts)
                await asyncio.sleep(pause_s)
        return counts

    async def follow(self, timeout_s: float | None = None) -> AsyncIterator[IngestCounts]:
        """Yield the counts, now and whenever they have changed, as `Ingestion.follow` does."""
        last = None
        async with aclosing(self._threads.iterate(self._ingestion.poll, timeout_s)) as polls:
            async for counts, pause_s in polls:
                if counts != last:
                    last = counts
                    yield counts
                await asyncio.sleep(pause_s)
