"""The Celery tasks. They are thin: the work is in ingest/ and queries/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from siglip_ingest.broker.tickets import EMBED_IMAGES
from siglip_workers.celery import app
from siglip_workers.queries.answers import NO_LONGER_AWAITED, answer_location, answer_query_images, answer_texts
from siglip_workers.runtime import current_runtime


@app.task(name=EMBED_IMAGES)  # type: ignore[untyped-decorator]  # Celery has no types
def embed_images(model_id: int, *_: object) -> None:
    """Have the worker look at the ledger: images are queued.

    Arguments of earlier versions, which named the work, are ignored: the ledger knows it.
    """
    current_runtime().feeder.take_ticket(model_id)


@app.task(name="siglip.embed_texts", acks_late=True, bind=True)  # type: ignore[untyped-decorator]
def embed_texts(self: Any, texts: Sequence[str], *, is_waited_for: bool = False) -> dict[str, Any]:
    """Embed texts, for programs that have Celery anyway; see `siglip_ingest.broker.tasks` for the answer's layout.

    Args:
        self: The task.
        texts: As typed.
        is_waited_for: As for `embed_query_images`.
    """
    if is_waited_for and not current_runtime().broker.is_waited_for(self.request.id):
        return NO_LONGER_AWAITED
    return answer_texts(current_runtime().device, texts)


@app.task(name="siglip.embed_query_images", acks_late=True, bind=True)  # type: ignore[untyped-decorator]
def embed_query_images(self: Any, pixels: Sequence[dict[str, Any]], *, is_waited_for: bool = False) -> dict[str, Any]:
    """Embed query images that are of a size that the model takes; see `siglip_ingest.broker.tasks` for the layouts.

    Args:
        self: The task.
        pixels: The images.
        is_waited_for: Whether the asker keeps a key in Redis while it waits: once that is gone nothing is done.
    """
    worker = current_runtime()
    if is_waited_for and not worker.broker.is_waited_for(self.request.id):
        return NO_LONGER_AWAITED
    return answer_query_images(worker.device, pixels)


@app.task(name="siglip.locate_text", acks_late=True, bind=True)  # type: ignore[untyped-decorator]
def locate_text(self: Any, asked: dict[str, Any], *, is_waited_for: bool = False) -> dict[str, Any]:
    """Say where in an image of a size that the model takes a text matched; layouts: `siglip_ingest.broker.tasks`.

    Args:
        self: The task.
        asked: The image and the text's vector.
        is_waited_for: As for `embed_query_images`.
    """
    worker = current_runtime()
    if is_waited_for and not worker.broker.is_waited_for(self.request.id):
        return NO_LONGER_AWAITED
    return answer_location(worker.device, asked)
