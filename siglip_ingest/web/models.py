"""`/v1/models`: which models there are, how far a change is, comparing two, and switching."""

from __future__ import annotations

import dataclasses
import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.problems import describe_responses
from siglip_ingest.web.results import Entry
from siglip_ingest.web.schemas import Match, Name, Request
from siglip_ingest.web.search import describe_entries

router = APIRouter(prefix="/v1/models", tags=["models"])

ModelId = Annotated[int, Path(ge=1, lt=2**31)]
QueryModelId = Annotated[int, Query(ge=1, lt=2**31)]


class Model(BaseModel):
    """A model, and how much of all images it has."""

    model_id: int
    model: str = Field(description="Name of the checkpoint.")
    state: str = Field(description="`active`, `kept` (new images are embedded under it too), `unused` or `dropped`.")
    images: int = Field(description="All images.")
    embedded: int = Field(description="Those that it has a vector of.")
    queued: int
    failed: int
    not_queued: int = Field(description="Those that nobody queued for it.")
    share: float | None = Field(description="embedded / images.")
    per_s: float | None = Field(description="Images that its workers embedded in a second, over the last minute.")
    remaining_s: float | None = Field(description="Seconds that what is queued takes at that rate.")
    labels_missing: int = Field(description="Labels without a vector under it.")
    texts: int = Field(description="Queries in its cache.")
    workers: int = Field(description="Workers that serve it.")


class CollectionCoverage(BaseModel):
    """How much of a collection a model has."""

    model_id: int
    model: str
    collection: str
    images: int
    embedded: int
    queued: int
    failed: int
    not_queued: int
    share: float


class NewModel(Request):
    """A model to be added."""

    name: Name = Field(description="A hub name, or `demo`.")


class Switch(Request):
    """How to switch."""

    force: bool = Field(default=False, description="Though images or labels have no vector under it yet.")
    keep_old: bool = Field(default=True, description="Embed new images under the old model too: going back is instant.")


class Comparison(BaseModel):
    """One measure of two models."""

    measure: str
    value_a: float | None
    value_b: float | None
    n: int = Field(description="Cases: queries, images, labels or decisions.")
    note: str | None


class ModelMatches(BaseModel):
    """What one model finds."""

    model_id: int
    matches: list[Match]
    took_ms: float


class SideBySide(BaseModel):
    """What two models find for a text."""

    a: ModelMatches
    b: ModelMatches
    common: list[int] = Field(description="Ids of the images that both found.")


@router.get("", summary="List the models")
def list_models(context: InContext) -> list[Model]:
    """The models, oldest first, and how much of all images each has."""
    return [Model(**dataclasses.asdict(row)) for row in context.client.model_coverage()]


@router.get("/collections", summary="Coverage by collection")
def list_collection_coverage(context: InContext) -> list[CollectionCoverage]:
    """How much of each collection each model has."""
    return [CollectionCoverage(**dataclasses.asdict(row)) for row in context.client.collection_coverage()]


@router.post("", status_code=202, responses=describe_responses(400, 409, 422), summary="Add a model")
def add_model(context: InContext, body: NewModel) -> list[Model]:
    """Have all images embedded under another model too. Searches go on with the active one until the switch."""
    context.client.add_model(body.name)
    return list_models(context)


@router.get("/compare", responses=describe_responses(404, 422, 503), summary="Compare two models")
def compare_models(context: InContext, a: QueryModelId, b: QueryModelId) -> list[Comparison]:
    """Two models by what people asked, and by the images that they marked."""
    return [Comparison(**row._asdict()) for row in context.client.compare_models(a, b)]


@router.get("/compare/search", responses=describe_responses(404, 422, 503), summary="Search with two models")
def search_with_both(
    context: InContext,
    a: QueryModelId,
    b: QueryModelId,
    q: Annotated[str, Query(description="What the images show, in words.")],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    collection: Annotated[Name | None, Query()] = None,
) -> SideBySide:
    """What each of two models finds for a text, side by side."""
    found_a = _search(context, a, q, limit, collection)
    found_b = _search(context, b, q, limit, collection)
    ids = {match.image_id for match in found_b.matches}
    return SideBySide(a=found_a, b=found_b, common=[m.image_id for m in found_a.matches if m.image_id in ids])


@router.post(
    "/{model_id}/switch", responses=describe_responses(400, 404, 409, 422, 503), summary="Make a model the active one"
)
def switch_model(context: InContext, model_id: ModelId, body: Switch) -> list[Model]:
    """Make a model the one that searches, labels and new images use, in one transaction."""
    context.client.switch_model(model_id, force=body.force, keep_old=body.keep_old)
    return list_models(context)


@router.delete("/{model_id}", status_code=204, responses=describe_responses(404, 409, 422), summary="Drop a model")
def drop_model(context: InContext, model_id: ModelId) -> Response:
    """Take a model away that isn't active, with its vectors; the workers free its space."""
    context.client.drop_model(model_id, wait=False)
    return Response(status_code=204)


def _search(context: Context, model_id: int, query: str, limit: int, collection: str | None) -> ModelMatches:
    started = time.perf_counter()
    found = context.client.search_with_model(model_id, query, limit=limit, collection=collection)
    entries = [Entry(match.image_id, match.similarity, match.score) for match in found]
    return ModelMatches(
        model_id=model_id,
        matches=describe_entries(context, entries),
        took_ms=round(1000 * (time.perf_counter() - started), 1),
    )
