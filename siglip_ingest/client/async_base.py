"""What `AsyncSiglipClient` does for its methods: it runs those of a `SiglipClient` in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import ParamSpec, Self, TypeVar

from siglip_ingest.client.client import SiglipClient
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest import AsyncIngestion, Ingestion
from siglip_ingest.process.threads import Threads
from siglip_ingest.settings import Settings
from siglip_ingest.types import Embedder

P = ParamSpec("P")
T = TypeVar("T")

MAX_THREADS = 16  # as many as the database's connections


class AsyncBaseClient:
    """Opens nothing before it is needed, and closes it; works in any event loop of asyncio, and in several.

    Attributes:
        synchronous: The client that does the work, for what isn't asynchronous here: its methods block.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        broker_url: str | None = None,
        model: str | None = None,
        home: str | Path | None = None,
        embedder: Embedder | None = None,
        settings: Settings | None = None,
        max_threads: int = MAX_THREADS,
    ) -> None:
        """Make a client. Reads no environment variables: `from_environment` does.

        Args:
            database_url: PostgreSQL URL; None for the embedded services.
            broker_url: Redis URL of the Celery workers; only needed where this process can't embed queries itself.
            model: Name of a checkpoint, as for `SiglipClient`.
            home: Folder of the embedded services' data.
            embedder: Embeds the queries; chosen as by `SiglipClient` where it isn't given. Its methods are called in
                threads, several at once.
            settings: All settings at once, instead of the four above.
            max_threads: How many calls run at once; further ones wait, in their order.
        """
        client = SiglipClient(
            database_url=database_url,
            broker_url=broker_url,
            model=model,
            home=home,
            embedder=embedder,
            settings=settings,
        )
        self._set_up(client, max_threads)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], *, max_threads: int = MAX_THREADS) -> Self:
        """Make a client from `SIGLIP_*` variables; see `Settings`."""
        client = cls.__new__(cls)
        client._set_up(SiglipClient.from_environment(environment), max_threads)
        return client

    def _set_up(self, client: SiglipClient, max_threads: int) -> None:
        if isinstance(max_threads, bool) or not isinstance(max_threads, int) or max_threads < 1:
            raise InvalidInputError(f"max_threads must be a whole number from 1, not {max_threads!r}.")
        self.synchronous = client
        self._threads = Threads(max_threads)

    @property
    def settings(self) -> Settings:
        """The settings that it was made with."""
        return self.synchronous.settings

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections and leave the embedded services. The client can be used again afterwards."""
        await self._threads.run(self.synchronous.close)
        self._threads.close()

    async def _run(self, method: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
        return await self._threads.run(method, *arguments, **options)

    def _iterate(self, method: Callable[P, Iterator[T]], *arguments: P.args, **options: P.kwargs) -> AsyncIterator[T]:
        return self._threads.iterate(method, *arguments, **options)

    def _follow(self, ingestion: Ingestion) -> AsyncIngestion:
        return AsyncIngestion(ingestion, self._threads)
