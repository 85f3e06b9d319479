"""`/v1/labels`: label sets and their labels, and what they say of one image."""

from __future__ import annotations

from fastapi import APIRouter, Response

from siglip_ingest.db import label_sets, labels, reviewing
from siglip_ingest.errors import NotFoundError
from siglip_ingest.types import LabelStatus
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.images import PathId
from siglip_ingest.web.label_types import (
    ImageLabel,
    Label,
    LabelChange,
    LabelScore,
    LabelSet,
    NewLabel,
    NewLabelSet,
    ScoreRequest,
    SetChange,
    SetName,
)
from siglip_ingest.web.problems import ProblemError, describe_responses
from siglip_ingest.web.uploads import get_upload

# A name may hold slashes, so the order counts: what lies deeper comes first, and isn't taken for a part of a name.
router = APIRouter(prefix="/v1", tags=["labels"])


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


@router.post(
    "/labels/{label_set:path}/labels",
    status_code=201,
    responses=describe_responses(400, 404, 409, 422, 503),
    summary="Add a label",
)
def add_label(context: InContext, label_set: SetName, body: NewLabel) -> Label:
    """Add a label at the end of a set."""
    context.client.add_label(label_set, body.label, body.prompts, threshold=body.threshold)
    return _describe_label(context, label_set, body.label)


@router.post(
    "/labels/{label_set:path}/scores", responses=describe_responses(400, 404, 422, 503), summary="Score an image"
)
def score_image(context: InContext, label_set: SetName, body: ScoreRequest) -> list[LabelScore]:
    """An image's scores for the labels of a set, best first; they are independent, and don't sum to 1."""
    if (body.image_id is None) == (body.upload_id is None):
        raise ProblemError(422, "Give either image_id or upload_id.")
    image = body.image_id if body.image_id is not None else get_upload(context, body.upload_id or "")
    return [LabelScore(label=label, score=score) for label, score in context.client.label_scores(image, label_set)]


@router.patch(
    "/labels/{label_set:path}/labels/{label:path}",
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
    "/labels/{label_set:path}/labels/{label:path}",
    status_code=204,
    responses=describe_responses(404, 422),
    summary="Take a label out of its set",
)
def remove_label(context: InContext, label_set: SetName, label: SetName) -> Response:
    """Take a label out of its set, with its marks and calibrations."""
    context.client.remove_label(label_set, label)
    return Response(status_code=204)


@router.get("/labels/{label_set:path}", responses=describe_responses(404, 422), summary="Describe a label set")
def get_label_set(context: InContext, label_set: SetName) -> LabelSet:
    """A label set with its labels."""
    return _describe_set(context, label_set)


@router.patch(
    "/labels/{label_set:path}", responses=describe_responses(400, 404, 409, 422), summary="Change a label set"
)
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
    "/labels/{label_set:path}", status_code=204, responses=describe_responses(404, 422), summary="Delete a label set"
)
def drop_label_set(context: InContext, label_set: SetName) -> Response:
    """Delete a label set with its labels, marks and calibrations."""
    context.client.drop_label_set(label_set)
    return Response(status_code=204)


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
