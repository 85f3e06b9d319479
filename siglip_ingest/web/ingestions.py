"""`/v1/ingestions`: how far queued images are, told once or as it goes, what failed, and trying again."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

import anyio
from fastapi import APIRouter, Depends, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field

from siglip_ingest.db import browsing, ingestions
from siglip_ingest.db.ingestions import IngestionRow
from siglip_ingest.errors import SiglipError
from siglip_ingest.types import IngestCounts
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.problems import describe_responses
from siglip_ingest.web.schemas import MAX_BIGINT, Image

router = APIRouter(prefix="/v1/ingestions", tags=["ingestions"])

PathId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]

FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 2.0
MAX_EVENTS_S = 300.0  # a browser asks again by itself, with a key that may have been revoked
MAX_FAILURES = 1000


class Counts(BaseModel):
    """How many images of an ingestion are in each state."""

    queued: int = Field(default=0, description="No worker has taken them yet.")
    claimed: int = Field(default=0, description="In progress.")
    done: int = Field(default=0, description="Embedded.")
    failed: int = Field(default=0, description="Ended with an error.")

    @classmethod
    def of(cls, counts: IngestCounts) -> Counts:
        """Describe counts."""
        return cls(queued=counts.queued, claimed=counts.claimed, done=counts.done, failed=counts.failed)


class Ingestion(BaseModel):
    """Images that were queued together."""

    ingestion_id: int
    model: str
    collection: str | None = Field(description="null where they are in several.")
    created_at: datetime
    counts: Counts
    is_finished: bool = Field(description="Whether every image is done or failed, and no more come.")

    @classmethod
    def of(cls, row: IngestionRow, counts: IngestCounts) -> Ingestion:
        """Describe an ingestion."""
        return cls(
            ingestion_id=row.ingestion_id,
            model=row.model,
            collection=row.collection,
            created_at=row.created_at,
            counts=Counts.of(counts),
            is_finished=row.is_complete and counts.is_finished,
        )


class Failure(BaseModel):
    """An image that failed, and why."""

    image: Image
    error_code: str
    error_message: str


@router.get("", summary="List the newest ingestions")
def list_ingestions(context: InContext, limit: Annotated[int, Query(ge=1, le=100)] = 20) -> list[Ingestion]:
    """The newest first, and how far each is."""
    return [Ingestion.of(row, counts) for row, counts in context.client.list_ingestions(limit)]


@router.get("/{ingestion_id}", responses=describe_responses(404, 422), summary="How far an ingestion is")
def get_ingestion(context: InContext, ingestion_id: PathId) -> Ingestion:
    """Counts of its images by state. Ingestions are kept for 30 days."""
    return _describe(context, ingestion_id)


def _check_ingestion(context: InContext, ingestion_id: PathId) -> None:
    """Once a stream has begun, its status can't be 404 any more."""
    _describe(context, ingestion_id)


@router.get(
    "/{ingestion_id}/events",
    dependencies=[Depends(_check_ingestion)],
    response_class=EventSourceResponse,
    responses=describe_responses(404, 422),
    summary="Follow an ingestion",
)
async def follow_ingestion(context: InContext, ingestion_id: PathId) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `progress` with the ingestion whenever its counts change, and `done` with it at the end."""
    last, pause_s = None, FIRST_PAUSE_S
    ends_at = time.monotonic() + MAX_EVENTS_S
    while time.monotonic() < ends_at:
        try:
            now = await anyio.to_thread.run_sync(_describe, context, ingestion_id)
        except SiglipError:
            return  # the browser asks again, and is told then
        if now != last:
            last, pause_s = now, FIRST_PAUSE_S
            yield ServerSentEvent(event="done" if now.is_finished else "progress", data=now)
        if now.is_finished:
            return
        pause_s = min(LAST_PAUSE_S, 1.3 * pause_s)
        await anyio.sleep(pause_s)


@router.get("/{ingestion_id}/failures", responses=describe_responses(404, 422), summary="What failed, and why")
def list_failures(context: InContext, ingestion_id: PathId) -> list[Failure]:
    """The first 1,000 images of an ingestion that ended as failed, each with a code and a sentence."""
    client = context.client
    failures = client.follow_ingestion(ingestion_id).failures()[:MAX_FAILURES]
    images = browsing.describe_images(client.database, [failure.image_id for failure in failures])
    by_id = {image.image_id: image for image in images}
    return [
        Failure(
            image=Image.of(by_id[failure.image_id]),
            error_code=failure.error_code,
            error_message=failure.error_message,
        )
        for failure in failures
        if failure.image_id in by_id
    ]


@router.post("/{ingestion_id}/retry", responses=describe_responses(404, 422), summary="Try again what failed")
def retry_ingestion(context: InContext, ingestion_id: PathId) -> Ingestion:
    """Queue the images of an ingestion that failed once more."""
    context.client.retry_ingestion(ingestion_id)
    return _describe(context, ingestion_id)


def _describe(context: Context, ingestion_id: int) -> Ingestion:
    with context.client.database.connection() as connection:
        row = ingestions.describe_ingestion(connection, ingestion_id)
        return Ingestion.of(row, ingestions.count_items(connection, ingestion_id))
