"""Calibration: how a label decides, fitted to the images that people marked. The work is in SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from siglip_ingest.db import checks
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.errors import InvalidInputError

SQL = load_statements("calibrating")
MAX_SUGGESTED = 100


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fit of a label's scores: calibrated score = sigmoid(scale * logit + bias).

    Attributes:
        scale: Above 0; 1 is the model's own.
        bias: 0 is the model's own.
        threshold: Calibrated score from which an image has the label, in [0, 1].
        positives: Marked images that have the label.
        negatives: Marked images that haven't.
        precision: Left-one-out estimate, in [0, 1]; None where nothing was accepted.
        recall: Left-one-out estimate, in [0, 1]; None without positives.
        log_loss_before: Mean log loss of the marks where the fit began: the model's own scores; a label by example
            begins from its images. None where there was nothing to compare.
        log_loss_after: The same of the fit, never higher.
        guaranteed_precision: Lower bound of the precision where one was wished for and the marks suffice; else None.
        version: Counts from 1 for each label and model.
        note: What there is to know of it, in sentences.
    """

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


@dataclass(frozen=True, slots=True)
class CalibrationVersion:
    """A calibration that is kept; the attributes are those of `Calibration`, and whether it counts, and who made it."""

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


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An image whose mark would teach a label much.

    Attributes:
        image_id: Key in `siglip.images`.
        uri: Where it was indexed from.
        score: The model's own, in [0, 1].
        calibrated_score: By the label's current calibration, in [0, 1].
        is_accepted: Whether it has the label as things stand.
        reason: `uncertain`, near the border; or `accepted`, a random one of those above it.
    """

    image_id: int
    uri: str
    score: float
    calibrated_score: float
    is_accepted: bool
    reason: str


class MarkedImage(NamedTuple):
    """A marked image, its similarity to another one, and whether it was marked as having the label."""

    image_id: int
    similarity: float
    mark: bool


@dataclass(frozen=True, slots=True)
class ScoreExplanation:
    """Why an image has a label or not.

    Attributes:
        similarity: Cosine of the image and the label, in [-1, 1].
        logit: exp(logit_scale) * similarity + logit_bias.
        score: sigmoid(logit), the model's own.
        calibrated_score: sigmoid(scale * logit + bias) of the current calibration.
        threshold: What the calibrated score must reach.
        is_accepted: Whether it does.
        mark: What a person said of this image, which counts more; None where nobody has.
        percentile: Share of the other images that score less, in percent; None where there are no others.
        is_percentile_exact: False where it is of a sample.
        label_rank: The label's place among those of its set for this image, from 1, by the calibrated score.
        label_count: How many labels the set has.
        nearest_marked: Up to five marked images that are most like this one.
        explanation: The same in a sentence.
    """

    similarity: float
    logit: float
    score: float
    calibrated_score: float
    threshold: float
    is_accepted: bool
    mark: bool | None
    percentile: float | None
    is_percentile_exact: bool
    label_rank: int
    label_count: int
    nearest_marked: list[MarkedImage]
    explanation: str


def calibrate_label(
    connection: Connection,
    label_set: str,
    label: str,
    positives: Iterable[int],
    negatives: Iterable[int],
    *,
    min_precision: float | None,
    confidence: float,
) -> Calibration:
    """Mark images and fit a label to all marks; see `SiglipClient.calibrate`."""
    parameters = {
        **_names(label_set, label),
        "positives": _check_ids(positives),
        "negatives": _check_ids(negatives),
        "min_precision": min_precision,
        "confidence": confidence,
    }
    (row,) = connection.execute(SQL.calibrate_label, parameters)
    return Calibration(*row)


def make_label_from_images(
    connection: Connection, label_set: str, label: str, positives: Iterable[int], negatives: Iterable[int]
) -> Calibration:
    """Make a label out of images; see `SiglipClient.label_from_images`."""
    parameters = {
        **_names(label_set, label),
        "positives": _check_ids(positives),
        "negatives": _check_ids(negatives),
    }
    (row,) = connection.execute(SQL.make_label_from_images, parameters)
    return Calibration(*row)


def suggest_examples(
    connection: Connection, label_set: str, label: str, limit: int, *, only_accepted: bool
) -> list[Suggestion]:
    """Images whose marks would teach a label most; see `SiglipClient.suggest_examples`."""
    parameters = {
        **_names(label_set, label),
        "limit": checks.check_limit(limit, MAX_SUGGESTED),
        "only_accepted": only_accepted,
    }
    return [Suggestion(*row) for row in connection.execute(SQL.suggest_examples, parameters)]


def explain_score(connection: Connection, image_id: int, label_set: str, label: str) -> ScoreExplanation:
    """Why an image has a label or not; see `SiglipClient.explain_score`."""
    parameters = {**_names(label_set, label), "image_id": checks.check_image_id(image_id)}
    (row,) = connection.execute(SQL.explain_score, parameters)
    marked = [MarkedImage(mark["image_id"], mark["similarity"], mark["mark"]) for mark in row[-2]]
    return ScoreExplanation(*(*row[:-2], marked, row[-1]))


def list_calibrations(connection: Connection, label_set: str, label: str) -> list[CalibrationVersion]:
    """The calibrations of a label, the newest first."""
    return [CalibrationVersion(*row) for row in connection.execute(SQL.list_calibrations, _names(label_set, label))]


def use_calibration(connection: Connection, label_set: str, label: str, version: int) -> None:
    """Make a calibration the current one; 0 is the model's own scores."""
    if isinstance(version, bool) or not isinstance(version, int):
        raise InvalidInputError(f"version must be a whole number, not {version!r}.")
    connection.execute(SQL.use_calibration, {**_names(label_set, label), "version": version})


def _names(label_set: str, label: str) -> dict[str, object]:
    checks.check_name(label_set, "A label set")
    checks.check_name(label, "A label")
    return {"label_set": label_set, "label": label}


def _check_ids(image_ids: Iterable[int]) -> list[int]:
    return [checks.check_image_id(image_id) for image_id in image_ids]
