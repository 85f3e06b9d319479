"""`/v1/labels/...`: what a label decides on the images, the marks of people, and calibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from siglip_ingest.db import reviewing
from siglip_ingest.web.context import InContext
from siglip_ingest.web.label_types import (
    MAX_REVIEWED,
    Calibration,
    CalibrationRequest,
    CalibrationVersion,
    Histogram,
    MarkCount,
    NewMarks,
    ReviewedMatch,
    ReviewPage,
    SetName,
    Suggestion,
)
from siglip_ingest.web.problems import describe_responses
from siglip_ingest.web.results import Entry
from siglip_ingest.web.schemas import Name
from siglip_ingest.web.search import describe_entries

router = APIRouter(prefix="/v1", tags=["labels"])


@router.get(
    "/labels/{label_set:path}/labels/{label:path}/histogram",
    responses=describe_responses(404, 422),
    summary="How a label's scores are spread",
)
def get_histogram(
    context: InContext,
    label_set: SetName,
    label: SetName,
    bins: Annotated[int, Query(ge=2, le=200)] = 48,
    collection: Annotated[Name | None, Query()] = None,
    at: Annotated[float | None, Query(ge=0, le=1, description="A threshold to try: `above` says its effect.")] = None,
) -> Histogram:
    """Counts of images by calibrated score, in bins that are equally wide as logits: ln(score / (1 - score))."""
    database = context.client.database
    found = reviewing.count_by_score(database, label_set, label, bins=bins, collection=collection, at=at)
    return Histogram(**found._asdict(), total=sum(found.counts))


@router.get(
    "/labels/{label_set:path}/labels/{label:path}/images",
    responses=describe_responses(404, 422),
    summary="Images by a label's score",
)
def list_images_of_label(
    context: InContext,
    label_set: SetName,
    label: SetName,
    min_score: Annotated[float, Query(ge=0, le=1)] = 0.0,
    max_score: Annotated[float, Query(ge=0, le=1)] = 1.0,
    near: Annotated[float | None, Query(ge=0, le=1, description="Nearest to this score first.")] = None,
    collection: Annotated[Name | None, Query()] = None,
    only_marked: Annotated[bool, Query()] = False,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> ReviewPage:
    """Images whose calibrated score lies in a range, best first, or nearest to `near`: what a threshold decides."""
    database = context.client.database
    reviewing.get_threshold(database, label_set, label)  # an unknown label is an error, not an empty page

    def make() -> Sequence[Entry]:
        found = reviewing.list_scored_images(
            database,
            label_set,
            label,
            min_score=min_score,
            max_score=max_score,
            near=near,
            collection=collection,
            only_marked=only_marked,
            limit=MAX_REVIEWED,
        )
        return [Entry(each.image_id, each.similarity, each.calibrated_score) for each in found]

    entries, following, total = context.lists.page(cursor, limit, make)
    ids = [entry.image_id for entry in entries]
    now = reviewing.list_scored_images(database, label_set, label, image_ids=ids, limit=len(ids))
    by_id = {each.image_id: each for each in now}
    matches = [
        ReviewedMatch(**match.model_dump(), is_accepted=each.is_accepted, mark=each.mark)
        for match in describe_entries(context, entries)
        if (each := by_id.get(match.image_id)) is not None
    ]
    return ReviewPage(matches=matches, next_cursor=following, total=total)


@router.post(
    "/labels/{label_set:path}/labels/{label:path}/marks",
    responses=describe_responses(400, 404, 422),
    summary="Mark images right or wrong",
)
def mark_images(context: InContext, label_set: SetName, label: SetName, body: NewMarks) -> MarkCount:
    """Say which images have a label and which don't, or take that back. A mark wins over the model."""
    changed = context.client.mark_images(
        label_set,
        label,
        positives=body.positives,
        negatives=body.negatives,
        unmark=body.unmark,
        marked_by=body.marked_by,
    )
    return MarkCount(changed=changed)


@router.post(
    "/labels/{label_set:path}/labels/{label:path}/calibrations",
    status_code=201,
    responses=describe_responses(400, 404, 422),
    summary="Fit a label to its marks",
)
def calibrate(context: InContext, label_set: SetName, label: SetName, body: CalibrationRequest) -> Calibration:
    """Fit a label's scores to all its marks, those included that are given here."""
    made = context.client.calibrate(
        label_set,
        label,
        body.positives,
        body.negatives,
        min_precision=body.min_precision,
        confidence=body.confidence,
    )
    return Calibration(**dataclasses.asdict(made))


@router.get(
    "/labels/{label_set:path}/labels/{label:path}/calibrations",
    responses=describe_responses(404, 422),
    summary="A label's calibrations",
)
def list_calibrations(context: InContext, label_set: SetName, label: SetName) -> list[CalibrationVersion]:
    """The calibrations of a label under the active model, the newest first."""
    found = context.client.calibrations(label_set, label)
    return [CalibrationVersion(**dataclasses.asdict(version)) for version in found]


@router.put(
    "/labels/{label_set:path}/labels/{label:path}/calibrations/{version}",
    status_code=204,
    responses=describe_responses(404, 422),
    summary="Use an earlier calibration",
)
def use_calibration(
    context: InContext, label_set: SetName, label: SetName, version: Annotated[int, Path(ge=0, lt=2**31)]
) -> Response:
    """Make an earlier or later calibration the current one; 0 is the model's own scores."""
    context.client.use_calibration(label_set, label, version)
    return Response(status_code=204)


@router.get(
    "/labels/{label_set:path}/labels/{label:path}/suggestions",
    responses=describe_responses(404, 422),
    summary="Images worth marking",
)
def suggest_examples(
    context: InContext,
    label_set: SetName,
    label: SetName,
    limit: Annotated[int, Query(ge=1, le=100)] = 12,
    kind: Annotated[Literal["most_useful", "accepted"], Query()] = "most_useful",
) -> list[Suggestion]:
    """Unmarked images whose marks would teach the label most."""
    found = context.client.suggest_examples(label_set, label, limit=limit, only_accepted=kind == "accepted")
    by_id = {each.image_id: each for each in found}
    matches = describe_entries(context, [Entry(each.image_id, None, each.score) for each in found])
    return [
        Suggestion(
            **match.model_dump(),
            calibrated_score=by_id[match.image_id].calibrated_score,
            is_accepted=by_id[match.image_id].is_accepted,
            reason=by_id[match.image_id].reason,
        )
        for match in matches
    ]
