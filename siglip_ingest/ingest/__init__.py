"""Queues images: `enqueue_images` writes them to the database, an `Ingestion` follows them until they are done."""

from __future__ import annotations

from siglip_ingest.ingest.async_ingestion import AsyncIngestion
from siglip_ingest.ingest.enqueue import enqueue_images
from siglip_ingest.ingest.expand import ImageSource, file_version, path_of_uri, size_of_version
from siglip_ingest.ingest.ingestion import Ingestion

__all__ = [
    "AsyncIngestion",
    "ImageSource",
    "Ingestion",
    "enqueue_images",
    "file_version",
    "path_of_uri",
    "size_of_version",
]
