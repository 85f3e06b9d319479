"""What workers do when a message arrives. Thin: the work is in pipeline.py and queries.py, the parts in runtime.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siglip_workers.celery import app
from siglip_workers.queries import answer_query_images, answer_texts
from siglip_workers.runtime import current_runtime


@app.task(name="siglip.embed_images", ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
def embed_images(model_id: int, lease_token: str, item_ids: list[int]) -> None:
    """Embed one chunk of claimed ledger items. Delivered twice, the second time changes nothing."""
    current_runtime().embed_chunk(model_id, lease_token, item_ids)


@app.task(name="siglip.embed_texts")  # type: ignore[untyped-decorator]
def embed_texts(texts: Sequence[str]) -> dict[str, Any]:
    """Embed query texts; see `siglip_ingest.remote` for the answer's layout."""
    return answer_texts(current_runtime().device, texts)


@app.task(name="siglip.embed_query_images")  # type: ignore[untyped-decorator]
def embed_query_images(pixels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Embed query pictures that are of a size that the model takes; see `siglip_ingest.remote` for the layouts."""
    return answer_query_images(current_runtime().device, pixels)
