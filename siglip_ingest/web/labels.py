"""`/v1/labels`: label sets, their scores on the images, marks and calibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from siglip_ingest.db import label_sets, labels, reviewing
from siglip_ingest.errors import NotFoundError
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.types import LabelStatus
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.images import PathId
from siglip_ingest.web.problems import ProblemError, describe_responses
from siglip_ingest.web.results import Entry
from siglip_ingest.web.schemas import ImageId, Match, Name, Request, Score, UploadId
from siglip_ingest.web.search import describe_entries
from siglip_ingest.web.uploads import get_upload

router = APIRouter(prefix="/v1", tags=["labels"])

MAX_REVIEWED = 10_000  # images of one label that are paged through

SetName = Annotated[str, Path(min_length=1, max_length=1000)]
Marks = Annotated[list[ImageId], Field(max_length=10_000)]


class Label(BaseModel):
    """A label of a label set."""

    label: str
    prompts: list[str] = Field(description="The texts whose mean stands for it.")
    threshold: float | None = Field(description="Calibrated score from which an image has it; null means 0.5.")
    is_by_example: bool = Field(description="Whether it comes from marked images, and not from words.")
    is_ready: bool = Field(description="Whether it has a vector under every model in use.")
    refusals: dict[str, str] = Field(description="Models that can't embed it, and why.")
    state: str | None = Field(description="Whether its kept rows are current; null where they aren't kept.")

    @classmethod
    def of(cls, status: LabelStatus) -> Label:
        """Describe a label."""
        return cls(
            label=status.label,
            prompts=status.prompts,
            threshold=status.threshold,
            is_by_example=status.is_by_example,
            is_ready=not status.missing and not status.refusals,
            refusals=status.refusals,
            state=status.state,
        )


class LabelSet(BaseModel):
    """A named list of labels."""

    name: str
    template: str
    is_kept: bool = Field(description="Whether siglip.image_labels has a row for each image that has a label of it.")
    labels: list[Label]


class NewLabelSet(Request):
    """A label set to be made."""

    name: Name
    labels: list[Name] | dict[Name, list[str]] = Field(description="Labels; or prompts of its own for each.")
    template: Annotated[str, Field(max_length=1000)] = Field(
        default=DEFAULT_TEMPLATE, description="Makes the prompt of a label that has none; contains {label}."
    )
    keep: bool | None = Field(default=None, description="Whether siglip.image_labels has rows of it.")
    replace: bool = Field(default=False, description="Replace the set of that name, if there is one.")


class SetChange(Request):
    """A change of a label set."""

    name: Name | None = None
    keep: bool | None = None
    template: Annotated[str, Field(max_length=1000)] | None = Field(
        default=None, description="Makes the prompts anew of the labels that have none of their own; contains {label}."
    )


class NewLabel(Request):
    """A label to be added."""

    label: Name
    prompts: list[str] = Field(default=[], max_length=1000)
    threshold: Score | None = None


class LabelChange(Request):
    """A change of a label; what is left out stays."""

    label: Name | None = Field(default=None, description="Its new name.")
    prompts: list[str] | None = Field(default=None, max_length=1000)
    threshold: Score | None = Field(default=None, description="null for 0.5.")


class ImageLabel(BaseModel):
    """What a label says of an image."""

    label_set: str
    label: str
    similarity: float
    score: float | None = Field(description="The model's own.")
    calibrated_score: float | None = Field(description="By the label's current calibration.")
    threshold: float
    is_accepted: bool | None = Field(description="Whether the calibrated score reaches the threshold.")
    mark: bool | None = Field(description="What a person said, which counts more; null where nobody has.")


class Histogram(BaseModel):
    """How a label's calibrated scores are spread over images."""

    edges: list[float] = Field(description="Scores between which the bins lie, one more than bins.")
    counts: list[int] = Field(description="Images of each bin.")
    threshold: float = Field(description="Score from which images have the label.")
    total: int
    accepted: int = Field(description="Images that have the label by their score.")
    above: int | None = Field(description="Images whose score reaches `at`; null where that wasn't given.")


class ReviewedMatch(Match):
    """An image and what a label says of it; `score` is the calibrated one."""

    is_accepted: bool
    mark: bool | None


class ReviewPage(BaseModel):
    """A page of images of a label."""

    matches: list[ReviewedMatch]
    next_cursor: str | None
    total: int = Field(description=f"Images on all pages, at most {MAX_REVIEWED:,}.")


class NewMarks(Request):
    """What a person says of images."""

    positives: Marks = Field(default=[], description="Images that have the label.")
    negatives: Marks = Field(default=[], description="Images that haven't.")
    unmark: Marks = Field(default=[], description="Images of which the model decides again.")
    marked_by: Name | None = None


class MarkCount(BaseModel):
    """How many marks changed."""

    changed: int


class CalibrationRequest(Request):
    """A wish for a calibration."""

    positives: Marks = Field(default=[])
    negatives: Marks = Field(default=[])
    min_precision: Annotated[float, Field(gt=0, lt=1)] | None = None
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.9


class Calibration(BaseModel):
    """A fit of a label's scores: calibrated score = sigmoid(scale * logit + bias)."""

    scale: float
    bias: float
    threshold: float
    positives: int
    negatives: int
    precision: float | None
    recall: float | None
    log_loss_before: float | None
    log_loss_after: float | None
    guaranteed_precision: float | None
    version: int
    note: str


class CalibrationVersion(BaseModel):
    """A calibration that is kept."""

    version: int
    is_current: bool
    scale: float
    bias: float
    threshold: float
    positives: int | None
    negatives: int | None
    precision: float | None
    recall: float | None
    guaranteed_precision: float | None
    note: str | None
    created_at: datetime
    created_by: str


class Suggestion(Match):
    """An image whose mark would teach a label much."""

    calibrated_score: float
    is_accepted: bool
    reason: str


class ScoreRequest(Request):
    """An image to be scored: an indexed one or an uploaded one."""

    image_id: ImageId | None = None
    upload_id: UploadId | None = None


class LabelScore(BaseModel):
    """A label and an image's score for it."""

    label: str
    score: float


@router.get("/labels", summary="List the label sets")
def list_label_sets(context: InContext) -> list[LabelSet]:
    """All label sets with their labels."""
    return _describe_sets(context, None)


@router.post("/labels", status_code=201, responses=describe_responses(400, 409, 422, 503), summary="Make a label set")
def create_label_set(context: InContext, body: NewLabelSet) -> LabelSet:
    """Make a label set, so that every image has a score for each of its labels."""
    context.client.create_label_set(
        body.name, body.labels, template=body.template, keep=body.keep, replace=body.replace
    )
    return _describe_set(context, body.name)


@router.get("/labels/{label_set}", responses=describe_responses(404, 422), summary="Describe a label set")
def get_label_set(context: InContext, label_set: SetName) -> LabelSet:
    """A label set with its labels."""
    return _describe_set(context, label_set)


@router.patch("/labels/{label_set}", responses=describe_responses(400, 404, 409, 422), summary="Change a label set")
def change_label_set(context: InContext, label_set: SetName, body: SetChange) -> LabelSet:
    """Give a label set another name or template, or say whether its labels are kept as rows."""
    if body.template is not None:
        context.client.set_template(label_set, body.template)
    if body.keep is not None:
        context.client.keep_labels(label_set, body.keep)
    if body.name is not None and body.name != label_set:
        context.client.rename_label_set(label_set, body.name)
    return _describe_set(context, body.name or label_set)


@router.delete(
    "/labels/{label_set}", status_code=204, responses=describe_responses(404, 422), summary="Delete a label set"
)
def drop_label_set(context: InContext, label_set: SetName) -> Response:
    """Delete a label set with its labels, marks and calibrations."""
    context.client.drop_label_set(label_set)
    return Response(status_code=204)


@router.post(
    "/labels/{label_set}/labels",
    status_code=201,
    responses=describe_responses(400, 404, 409, 422, 503),
    summary="Add a label",
)
def add_label(context: InContext, label_set: SetName, body: NewLabel) -> Label:
    """Add a label at the end of a set."""
    context.client.add_label(label_set, body.label, body.prompts, threshold=body.threshold)
    return _describe_label(context, label_set, body.label)


@router.patch(
    "/labels/{label_set}/labels/{label}",
    responses=describe_responses(400, 404, 409, 422, 503),
    summary="Change a label",
)
def change_label(context: InContext, label_set: SetName, label: SetName, body: LabelChange) -> Label:
    """Give a label another name, other prompts or another threshold."""
    client = context.client
    if "threshold" in body.model_fields_set:
        client.set_threshold(label_set, label, body.threshold)
    if body.label is not None or body.prompts is not None:
        client.change_label(label_set, label, new_label=body.label, prompts=body.prompts)
    return _describe_label(context, label_set, body.label or label)


@router.delete(
    "/labels/{label_set}/labels/{label}",
    status_code=204,
    responses=describe_responses(404, 422),
    summary="Take a label out of its set",
)
def remove_label(context: InContext, label_set: SetName, label: SetName) -> Response:
    """Take a label out of its set, with its marks and calibrations."""
    context.client.remove_label(label_set, label)
    return Response(status_code=204)


@router.get(
    "/labels/{label_set}/labels/{label}/histogram",
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
    "/labels/{label_set}/labels/{label}/images",
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
    "/labels/{label_set}/labels/{label}/marks",
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
    "/labels/{label_set}/labels/{label}/calibrations",
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
    "/labels/{label_set}/labels/{label}/calibrations",
    responses=describe_responses(404, 422),
    summary="A label's calibrations",
)
def list_calibrations(context: InContext, label_set: SetName, label: SetName) -> list[CalibrationVersion]:
    """The calibrations of a label under the active model, the newest first."""
    found = context.client.calibrations(label_set, label)
    return [CalibrationVersion(**dataclasses.asdict(version)) for version in found]


@router.put(
    "/labels/{label_set}/labels/{label}/calibrations/{version}",
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
    "/labels/{label_set}/labels/{label}/suggestions",
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


@router.post("/labels/{label_set}/scores", responses=describe_responses(400, 404, 422, 503), summary="Score an image")
def score_image(context: InContext, label_set: SetName, body: ScoreRequest) -> list[LabelScore]:
    """An image's scores for the labels of a set, best first; they are independent, and don't sum to 1."""
    if (body.image_id is None) == (body.upload_id is None):
        raise ProblemError(422, "Give either image_id or upload_id.")
    image = body.image_id if body.image_id is not None else get_upload(context, body.upload_id or "")
    return [LabelScore(label=label, score=score) for label, score in context.client.label_scores(image, label_set)]


@router.get("/images/{image_id}/labels", responses=describe_responses(404, 422), summary="An image's labels")
def list_labels_of_image(context: InContext, image_id: PathId) -> list[ImageLabel]:
    """What each label of each set says of an image, by set, best first."""
    context.client.get_image(image_id)
    found = reviewing.list_image_labels(context.client.database, image_id)
    return [ImageLabel(**label._asdict()) for label in found]


def _describe_sets(context: Context, name: str | None) -> list[LabelSet]:
    """The label set of a name, or all."""
    with context.client.database.connection() as connection:
        rows = labels.list_label_sets(connection, name)
        statuses = label_sets.list_label_status(connection, name)
    of_set: dict[str, list[LabelStatus]] = {row.name: [] for row in rows}
    for status in statuses:
        of_set.get(status.label_set, []).append(status)
    return [
        LabelSet(
            name=row.name,
            template=row.template,
            is_kept=any(status.is_kept for status in of_set[row.name]),
            labels=[Label.of(status) for status in of_set[row.name]],
        )
        for row in rows
    ]


def _describe_set(context: Context, name: str) -> LabelSet:
    found = _describe_sets(context, name)
    if not found:
        raise NotFoundError(f"There is no label set {name!r}.")
    return found[0]


def _describe_label(context: Context, label_set: str, label: str) -> Label:
    found = [each for each in _describe_set(context, label_set).labels if each.label == label]
    if not found:
        raise NotFoundError(f"The label set {label_set!r} has no label {label!r}.")
    return found[0]
