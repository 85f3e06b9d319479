"""How labels decide: the scores of one image, the spread of a label's scores, and the images at its border."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from siglip_ingest.db import checks
from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.errors import InvalidInputError

SQL = load_statements("reviewing")

LOGIT_REACH = 12.0  # scores below 6e-6 or above 1 - 6e-6 are counted with the outermost bins
MAX_BINS = 1000


class ImageLabel(NamedTuple):
    """A label and what it says of one image.

    Attributes:
        label_set: Name of its set.
        label: Its name.
        similarity: Cosine of the image and the label, in [-1, 1].
        score: The model's own, in [0, 1]; None, like the next and `is_accepted`, where the model has no scores.
        calibrated_score: By the label's current calibration, in [0, 1].
        threshold: What the calibrated score must reach.
        is_accepted: Whether it does.
        mark: What a person said, which counts more; None where nobody has.
    """

    label_set: str
    label: str
    similarity: float
    score: float | None
    calibrated_score: float | None
    threshold: float
    is_accepted: bool | None
    mark: bool | None


class ScoreHistogram(NamedTuple):
    """How the calibrated scores of a label are spread over images.

    Attributes:
        edges: N + 1 scores in [0, 1], between which the bins lie; their logits are equally far apart.
        counts: N numbers of images.
        threshold: The score from which images have the label.
        accepted: How many images have it by their score.
        above: How many would have it if the threshold were `at`; None where that wasn't asked.
    """

    edges: list[float]
    counts: list[int]
    threshold: float
    accepted: int
    above: int | None


class ScoredImage(NamedTuple):
    """An image and a label's calibrated score of it; the attributes are those of `ImageLabel`."""

    image_id: int
    similarity: float
    calibrated_score: float
    is_accepted: bool
    mark: bool | None


def list_image_labels(database: Database, image_id: int) -> list[ImageLabel]:
    """What each label of each set says of an image, by set, best first; none where it isn't embedded."""
    return [ImageLabel(*row) for row in database.fetch(SQL.list_image_labels, {"image_id": image_id})]


def get_threshold(database: Database, label_set: str, label: str) -> float:
    """The calibrated score from which images have a label under the active model.

    Raises:
        NotFoundError: If there is no such set or label, or it has no vector yet.
    """
    ((threshold,),) = database.fetch(SQL.get_threshold, {"label_set": label_set, "label": label})
    return float(threshold)


def count_by_score(
    database: Database,
    label_set: str,
    label: str,
    *,
    bins: int = 48,
    collection: str | None = None,
    at: float | None = None,
) -> ScoreHistogram:
    """Count images by a label's calibrated score, in bins whose logits are equally wide.

    Args:
        database: Where they are.
        label_set: Name of the label set.
        label: Name of the label.
        bins: How many, 2 to 1,000.
        collection: Count only this collection's images.
        at: A threshold to try, a score in [0, 1].

    Raises:
        NotFoundError: If there is no such set or label, or it has no vector yet.
        InvalidInputError: If `bins` isn't a number from 2 to 1,000.
    """
    if not checks.is_whole_number(bins) or not 2 <= int(bins) <= MAX_BINS:
        raise InvalidInputError(f"bins must be a whole number from 2 to {MAX_BINS:,}, not {bins!r}.")
    threshold = get_threshold(database, label_set, label)
    parameters = {
        "label_set": label_set,
        "label": label,
        "collection": collection,
        "bins": int(bins),
        "reach": LOGIT_REACH,
        "at": at,
    }
    counts = [0] * int(bins)
    accepted = above = 0
    for bin_, images, with_label, reaching in database.fetch(SQL.count_by_logit, parameters):
        counts[min(max(bin_, 1), int(bins)) - 1] += images
        accepted += with_label
        above += reaching
    logits = [-LOGIT_REACH + 2 * LOGIT_REACH * edge / int(bins) for edge in range(1, int(bins))]
    edges = [0.0, *(1 / (1 + math.exp(-logit)) for logit in logits), 1.0]
    return ScoreHistogram(edges, counts, threshold, accepted, None if at is None else above)


def list_scored_images(
    database: Database,
    label_set: str,
    label: str,
    *,
    min_score: float = 0.0,
    max_score: float = 1.0,
    near: float | None = None,
    collection: str | None = None,
    only_marked: bool = False,
    image_ids: Sequence[int] | None = None,
    limit: int = 100,
) -> list[ScoredImage]:
    """Images whose calibrated score of a label lies in a range, best first, or nearest to the score `near`."""
    parameters = {
        "label_set": label_set,
        "label": label,
        "min_score": min_score,
        "max_score": max_score,
        "near": near,
        "collection": collection,
        "only_marked": only_marked,
        "image_ids": None if image_ids is None else list(image_ids),
        "limit": limit,
    }
    return [ScoredImage(*row) for row in database.fetch(SQL.list_scored_images, parameters)]
