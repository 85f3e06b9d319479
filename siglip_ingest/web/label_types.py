"""What requests and answers about labels look like."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import BaseModel, Field

from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.types import LabelStatus
from siglip_ingest.web.schemas import ImageId, Match, Name, Request, Score, UploadId

MAX_REVIEWED = 10_000  # images of one label that are paged through

SetName = Annotated[str, Path(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]
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
