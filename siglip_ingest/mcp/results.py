"""What the tools return: their fields and descriptions are the output schemas that clients read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, Field

from siglip_ingest.db.browsing import StoredImage
from siglip_ingest.sources import hide_secrets, name_of_uri
from siglip_ingest.types import ImageMatch, LabelMatch

LISTED_CHARACTERS = 2_000  # of an image's metadata in a list: fifty of them have to fit a model's context
DESCRIBED_CHARACTERS = 20_000  # where one image is described

TEXT_SCORES = (
    "score is the model's own probability, from 0 to 1, that the text and the image belong together. Right matches can "
    "have low scores: compare the scores of one answer, and look at the images where it matters."
)
COMPOSED_SCORES = (
    "score is a product, from 0 to 1: each wanted text brings its probability, each unwanted text 1 minus its, and the "
    "images together how alike they are. Compare the scores of one answer only."
)
IMAGE_SCORES = (
    "similarity is the cosine of the two images: 1 for the same, above about 0.9 for near-duplicates. Of score only "
    "the order means something here."
)
LABEL_SCORES = (
    "Each score is the probability, from 0 to 1, that this label is true of the image. The scores are independent and "
    "don't sum to 1: none may be high, or several."
)


class Answer(BaseModel):
    """What every answer has."""

    notes: list[str] = Field(default_factory=list, description="What to know of this answer, in sentences.")


class Listed(BaseModel):
    """An image in a list."""

    image_id: int
    name: str = Field(description="File name.")
    uri: str = Field(description="Where it was indexed from, without passwords and signatures.")
    metadata: dict[str, Any] = Field(description="What was stored with it.")
    metadata_is_cut: bool = Field(default=False, description="Whether some is left out; describe_image has it all.")


class FoundImage(Listed):
    """A match of a search."""

    score: float | None = Field(description="0 to 1; null where the model has no scores. score_means says what it is.")
    similarity: float = Field(description="Cosine of query and image.")

    @classmethod
    def from_match(cls, match: ImageMatch) -> Self:
        """A row of a search result, as clients see it."""
        return cls(
            **_list_fields(match), score=finite_or_none(match.score), similarity=round(float(match.similarity), 4)
        )


class FoundImages(Answer):
    """Matches, best first."""

    images: list[FoundImage]
    score_means: str


class LabelledImage(Listed):
    """An image that has the labels that were asked for."""

    score: float | None
    scores: dict[str, float | None] = Field(description="Its score for each label that was named.")

    @classmethod
    def from_match(cls, match: LabelMatch) -> Self:
        """A row of `images_with_labels`, as clients see it."""
        scores = {label: finite_or_none(score) for label, score in match.scores.items()}
        return cls(**_list_fields(match), score=finite_or_none(match.score), scores=scores)


class LabelledImages(Answer):
    """Images that have labels, best first."""

    images: list[LabelledImage]
    score_means: str


class ScoredLabel(BaseModel):
    """A label and an image's score for it."""

    label: str
    score: float | None


class LabelledScores(Answer):
    """The scores of one image, best first."""

    image_id: int
    labels: list[ScoredLabel]
    score_means: str


class BestLabel(ScoredLabel):
    """A label of a set."""

    label_set: str


class ImageDescription(Answer):
    """What is known of an image."""

    image_id: int
    name: str
    uri: str = Field(description="Where it was indexed from, without passwords and signatures.")
    collection: str
    key: str | None = Field(description="What its owner calls it.")
    width: int | None = Field(description="Pixels.")
    height: int | None = Field(description="Pixels.")
    format: str | None
    state: str = Field(description="embedded (searches find it), queued, in progress, failed, or not queued.")
    problem: str | None = Field(description="Why it failed.")
    metadata: dict[str, Any]
    metadata_is_cut: bool = Field(description="Whether some is left out: what is very long.")
    labels: list[BestLabel] = Field(description="The labels of all sets with the highest scores, best first.")
    nearest: list[FoundImage] = Field(description="The images most like it, best first.")


class Collection(BaseModel):
    """A named set of images."""

    collection: str
    images: int


class LabelSet(BaseModel):
    """A vocabulary that every image has scores for."""

    label_set: str
    labels: list[str]


class DatabaseDescription(Answer):
    """What there is to search."""

    model: str | None = Field(description="The active model; null before the first image was indexed.")
    embedded: int = Field(description="Images that searches find.")
    queued: int = Field(description="Images that wait to be embedded.")
    in_progress: int
    failed: int = Field(description="Images that can't be embedded; describe_image says why.")
    collections: list[Collection] = Field(description="The largest first.")
    label_sets: list[LabelSet]


class FailedImage(BaseModel):
    """An image that wasn't indexed."""

    image_id: int
    name: str
    problem: str


class IndexedImages(Answer):
    """How far the images are that were queued."""

    collection: str
    done: int
    queued: int
    in_progress: int
    failed: int
    image_ids: list[int] = Field(description="Of the first of them.")
    failures: list[FailedImage]


class Marked(Answer):
    """What marking did."""

    changed: int = Field(description="Marks that are different now.")


def finite_or_none(score: float | None) -> float | None:
    """A score with the digits that mean something; None for the NaN of a model without scores."""
    return None if score is None or math.isnan(score) else float(f"{score:.4g}")


def state_of(record: StoredImage) -> str:
    """How far an image is, in the words of `ImageDescription.state`."""
    if record.is_embedded:
        return "embedded"
    return {"claimed": "in progress", "done": "embedded", None: "not queued"}.get(record.state, str(record.state))


def _list_fields(match: ImageMatch | LabelMatch) -> dict[str, Any]:
    metadata = cut_metadata(match.metadata, LISTED_CHARACTERS)
    return {
        "image_id": match.image_id,
        "name": name_of_uri(match.uri),
        "uri": hide_secrets(match.uri),
        "metadata": metadata,
        "metadata_is_cut": len(metadata) < len(match.metadata),
    }


def cut_metadata(metadata: Mapping[str, Any], max_characters: int) -> dict[str, Any]:
    """Those of the metadata, in their order, that fit so many characters of JSON; what is too long is passed over."""
    kept, room = {}, max_characters
    for key, value in metadata.items():
        size = len(json.dumps({key: value}, ensure_ascii=False, default=str))
        if size <= room:
            kept[key] = value
            room -= size
    return kept
