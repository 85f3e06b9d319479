"""Chooses the embedder of a program's queries: torch in this process, or a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from siglip_ingest.db import Database
from siglip_ingest.db.models import ModelKey, ModelRow, check_loadable, get_model
from siglip_ingest.embedders.batching import BatchCounts, BatchingEmbedder
from siglip_ingest.embedders.local import has_torch, load_embedder
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.embedders.settings import QuerySettings
from siglip_ingest.types import Embedder

if TYPE_CHECKING:
    from siglip_ingest.services import EmbeddedServices


class QueryEmbedder:
    """The embedder of one client's queries, which follows the active model. Thread-safe.

    Args:
        settings: The client's.
        embedder: A fixed one, which belongs to the caller; None to choose one at first use.
    """

    def __init__(self, settings: QuerySettings, embedder: Embedder | None = None) -> None:
        self.counts = BatchCounts()  # of what is embedded in this process
        self._settings = settings
        self._embedder = embedder
        self._is_fixed = embedder is not None
        self._model: ModelKey | None = None
        self._lock = threading.Lock()  # held while a model loads: searches that need none go on

    @property
    def can_embed(self) -> bool:
        """Whether this process embeds texts; else a worker does."""
        return self._embedder is not None or has_torch()

    def get(
        self, model: ModelKey, database: Database, start_services: Callable[[], EmbeddedServices | None]
    ) -> Embedder:
        """The embedder of a model; loaded at first use, and when another model has become the active one.

        Args:
            model: The database's active model.
            database: Where its row is, and through which a worker is asked.
            start_services: Starts the embedded services; None where PostgreSQL is the user's own.

        Raises:
            InvalidInputError: If the model is external: nothing can load it.
        """
        with self._lock:
            if self._embedder is None or (not self._is_fixed and self._model != model):
                with database.connection() as connection:
                    row = get_model(connection, model.model_id)
                check_loadable(row, "a query")
                self._embedder = _make_embedder(row, self._settings, database, start_services(), self.counts)
                self._model = model
            return self._embedder

    def close(self) -> None:
        """Let go of an embedder that was chosen here."""
        if not self._is_fixed:
            self._embedder = None

    def forget_inherited(self) -> None:
        """In a forked child: a model that was loaded stays loaded, connections to workers are left to the parent."""
        self._lock = threading.Lock()
        if isinstance(self._embedder, RemoteEmbedder):
            self.close()


def _make_embedder(
    row: ModelRow,
    settings: QuerySettings,
    database: Database,
    services: EmbeddedServices | None,
    counts: BatchCounts,
) -> Embedder:
    """Make an embedder of a model. The embedded worker, where it runs, answers sooner than torch is imported here."""
    has_worker = services is not None and row.info is not None and services.has_ready_worker(row.name)
    if has_torch() and not has_worker:
        return BatchingEmbedder(load_embedder(row.name, settings, known=row.info), counts)
    broker_url = settings.broker_url
    if services is not None:
        if not has_worker:
            services.ensure_worker(model=row.name)
        broker_url = services.broker_url
    return RemoteEmbedder(row, database, broker_url=broker_url, timeout_s=settings.embed_timeout_s)
