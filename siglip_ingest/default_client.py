"""The module-level functions, which use one client made from the environment at first use."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest import ingest
from siglip_ingest.client import SiglipClient
from siglip_ingest.types import DEFAULT_COLLECTION, ImageMatch, LabelScore

if TYPE_CHECKING:
    from PIL import Image

_default_client: SiglipClient | None = None
_default_client_lock = threading.Lock()


def _forget_inherited() -> None:
    """In a process that was forked off: a lock that was held there is held by nobody here."""
    global _default_client_lock  # noqa: PLW0603
    _default_client_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)


def default_client() -> SiglipClient:
    """The client of the module-level functions, made from the environment at first use and closed at exit."""
    global _default_client  # noqa: PLW0603  # the one process-wide value: the module-level functions are its reason
    with _default_client_lock:
        if _default_client is None:
            _default_client = SiglipClient.from_environment(os.environ)
            atexit.register(_default_client.close)
        return _default_client


def enqueue_images(
    sources: Any, *, collection: str = DEFAULT_COLLECTION, metadata: Mapping[str, Any] | None = None
) -> ingest.Ingestion:
    """`SiglipClient.enqueue_images` of the default client."""
    return default_client().enqueue_images(sources, collection=collection, metadata=metadata)


def search_images(query: str | Path | bytes | Image.Image, **options: Any) -> list[ImageMatch]:
    """`SiglipClient.search_images` of the default client."""
    return default_client().search_images(query, **options)


def similar_images(image_id: int, **options: Any) -> list[ImageMatch]:
    """`SiglipClient.similar_images` of the default client."""
    return default_client().similar_images(image_id, **options)


def create_label_set(name: str, labels: Sequence[str] | Mapping[str, Sequence[str]], **options: Any) -> None:
    """`SiglipClient.create_label_set` of the default client."""
    default_client().create_label_set(name, labels, **options)


def label_scores(image: int | str | Path | bytes | Image.Image, label_set: str) -> list[LabelScore]:
    """`SiglipClient.label_scores` of the default client."""
    return default_client().label_scores(image, label_set)
