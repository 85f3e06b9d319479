"""Who embeds a client's queries: torch in this process, or a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglip_ingest.db import Database
from siglip_ingest.db.models import ModelRow
from siglip_ingest.embedders.local import has_torch, load_embedder
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.embedders.settings import QuerySettings
from siglip_ingest.types import Embedder

if TYPE_CHECKING:
    from siglip_ingest.services import EmbeddedServices


def make_query_embedder(
    row: ModelRow, settings: QuerySettings, database: Database, services: EmbeddedServices | None
) -> Embedder:
    """Make an embedder of a model for queries.

    The embedded worker, where it runs, answers sooner than torch is imported here.

    Args:
        row: The model.
        settings: The client's.
        database: The client's.
        services: The embedded services, where they are ours.
    """
    has_worker = services is not None and row.info is not None and services.has_ready_worker(row.name)
    if has_torch() and not has_worker:
        return load_embedder(row.name, settings, known=row.info)
    broker_url = settings.broker_url
    if services is not None:
        if not has_worker:
            services.ensure_worker(model=row.name)
        broker_url = services.broker_url
    return RemoteEmbedder(row, database, broker_url=broker_url, timeout_s=settings.embed_timeout_s)
