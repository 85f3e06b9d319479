"""`SiglipClient`: the parts of the client in one."""

from __future__ import annotations

from siglip_ingest.client.attaching import AttachingClient
from siglip_ingest.client.browsing import BrowsingClient
from siglip_ingest.client.calibrating import CalibratingClient
from siglip_ingest.client.deleting import DeletingClient
from siglip_ingest.client.embedding import EmbeddingClient
from siglip_ingest.client.exploring import ExploringClient
from siglip_ingest.client.labeling import LabelingClient
from siglip_ingest.client.locating import LocatingClient
from siglip_ingest.client.models import ModelChangingClient
from siglip_ingest.client.vectors import VectorsClient


class SiglipClient(
    ModelChangingClient,
    DeletingClient,
    ExploringClient,
    LabelingClient,
    LocatingClient,
    CalibratingClient,
    VectorsClient,
    AttachingClient,
    BrowsingClient,
    EmbeddingClient,
):
    """Indexes and searches images in one database. Thread-safe; closes as a context manager.

    Nothing is opened before it is needed. Without `database_url` the embedded PostgreSQL, Redis and worker are used,
    and stopped by `close` unless `siglip-ingest up` keeps them.
    """
