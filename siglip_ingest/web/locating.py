"""`/v1/images/{image_id}/location`: where in an image a text matched."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from siglip_ingest.web.context import InContext
from siglip_ingest.web.images import PathId
from siglip_ingest.web.problems import describe_responses

router = APIRouter(prefix="/v1/images", tags=["images"])


class Point(BaseModel):
    """A place in an image."""

    x: float = Field(description="0 at the left edge, 1 at the right.")
    y: float = Field(description="0 at the upper edge, 1 at the lower.")


class Location(BaseModel):
    """Which parts of an image made it fit a text: where, not whether; `score` says that."""

    rows: int
    columns: int
    values: list[list[float]] = Field(
        description="Row by row, 0 to 1: how much each cell of a grid over the upright image speaks for the text."
    )
    peak: Point = Field(description="The middle of the strongest cell.")
    similarity: float = Field(description="Cosine of the whole image and the text, -1 to 1.")
    score: float | None = Field(description="The model's probability that they belong together, 0 to 1.")


@router.get(
    "/{image_id}/location", responses=describe_responses(404, 422, 503), summary="Where in an image a text matches"
)
def locate_text(
    context: InContext,
    image_id: PathId,
    text: Annotated[str, Query(min_length=1, max_length=10_000, description="What to look for, in words.")],
) -> Location:
    """A heat map over the image. It takes about twenty times as long as embedding the image does."""
    found = context.client.locate(image_id, text)
    rows, columns = found.values.shape
    x, y = found.peak
    return Location(
        rows=rows,
        columns=columns,
        values=[[round(float(value), 4) for value in row] for row in found.values],
        peak=Point(x=x, y=y),
        similarity=found.similarity,
        score=None if math.isnan(found.score) else found.score,
    )
