"""Image search inside PostgreSQL: SigLIP embeddings, ingestion workers, label scores in SQL.

The module-level functions use the default client, made from the environment at first use; `SiglipClient` is the same
with everything explicit. Names are loaded when they are first used, so that importing the package costs next to
nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siglip_ingest.client import SiglipClient
    from siglip_ingest.default_client import (
        create_label_set,
        default_client,
        enqueue_images,
        label_scores,
        search_images,
        similar_images,
    )
    from siglip_ingest.errors import (
        AlreadyExistsError,
        CheckpointError,
        ConfigurationError,
        DatabaseError,
        DatabaseUnavailableError,
        DownloadError,
        ImageError,
        InvalidInputError,
        NotFoundError,
        SchemaVersionError,
        ServiceError,
        SiglipError,
        WorkerUnavailableError,
    )
    from siglip_ingest.ingest import ImageSource, Ingestion
    from siglip_ingest.settings import Settings
    from siglip_ingest.types import ImageFailure, ImageMatch, IngestCounts, LabelScore

_HOME_OF = {
    "siglip_ingest.client": ("SiglipClient",),
    "siglip_ingest.default_client": (
        "create_label_set",
        "default_client",
        "enqueue_images",
        "label_scores",
        "search_images",
        "similar_images",
    ),
    "siglip_ingest.errors": (
        "AlreadyExistsError",
        "CheckpointError",
        "ConfigurationError",
        "DatabaseError",
        "DatabaseUnavailableError",
        "DownloadError",
        "ImageError",
        "InvalidInputError",
        "NotFoundError",
        "SchemaVersionError",
        "ServiceError",
        "SiglipError",
        "WorkerUnavailableError",
    ),
    "siglip_ingest.ingest": ("ImageSource", "Ingestion"),
    "siglip_ingest.settings": ("Settings",),
    "siglip_ingest.types": ("ImageFailure", "ImageMatch", "IngestCounts", "LabelScore"),
}
_MODULE_OF = {name: module for module, names in _HOME_OF.items() for name in names}

__all__ = [
    "AlreadyExistsError",
    "CheckpointError",
    "ConfigurationError",
    "DatabaseError",
    "DatabaseUnavailableError",
    "DownloadError",
    "ImageError",
    "ImageFailure",
    "ImageMatch",
    "ImageSource",
    "IngestCounts",
    "Ingestion",
    "InvalidInputError",
    "LabelScore",
    "NotFoundError",
    "SchemaVersionError",
    "ServiceError",
    "Settings",
    "SiglipClient",
    "SiglipError",
    "WorkerUnavailableError",
    "create_label_set",
    "default_client",
    "enqueue_images",
    "label_scores",
    "search_images",
    "similar_images",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
