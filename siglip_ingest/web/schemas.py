"""What requests and answers look like: the API's own types, and what /docs shows."""

from __future__ import annotations

import hashlib
import json
import math
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from siglip_ingest.composing import MAX_WEIGHT, MIN_WEIGHT
from siglip_ingest.db.browsing import StoredImage
from siglip_ingest.sources import hide_secrets, name_of_uri
from siglip_ingest.web.problems import ProblemError
from siglip_ingest.web.results import Entry

MAX_BIGINT = 2**53 - 1  # beyond, JSON's numbers aren't whole any more in many languages; no id comes near
FILE_NAME = "file_name"  # in the metadata of an uploaded file

ImageId = Annotated[int, Field(ge=1, le=MAX_BIGINT)]
Score = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]
UploadId = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Metadata = dict[str, Any]
Sort = Literal["relevance", "newest", "oldest"]


class Request(BaseModel):
    """A request's body: a field that isn't known is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Collection(BaseModel):
    """A set of images."""

    collection: str
    images: int


class Image(BaseModel):
    """An image that was given to be indexed."""

    image_id: int
    uri: str = Field(description="Where it was indexed from, without passwords.")
    name: str = Field(description="The last part of the URI, for people.")
    collection: str
    key: str | None = Field(description="Your own key.")
    metadata: Metadata
    width: int | None = Field(description="Pixels; null before it is embedded.")
    height: int | None = Field(description="Pixels; null before it is embedded.")
    format: str | None = Field(description="Of the file, such as JPEG.")
    created_at: datetime = Field(description="When it was added.")
    state: Literal["queued", "claimed", "done", "failed"] | None = Field(
        description="Under the active model; null where it isn't queued for it."
    )
    error_code: str | None = Field(description="Why it failed, in a word.")
    error_message: str | None = Field(description="Why it failed, a sentence.")
    thumbnail: str = Field(description="Path of its thumbnail; `size` chooses another one.")
    original: str = Field(description="Path of its file.")

    @classmethod
    def of(cls, image: StoredImage) -> Image:
        """Describe an image."""
        return cls(**_describe(image))


class Match(Image):
    """An image that was found."""

    similarity: float | None = Field(description="Cosine of query and image, -1 to 1; null without a query.")
    score: float | None = Field(description="The model's probability that they belong together, 0 to 1.")
    duplicates: list[int] = Field(description="Images that are nearly the same, and are folded below it.")

    @classmethod
    def of_entry(cls, entry: Entry, image: StoredImage) -> Match:
        """Describe a match."""
        score = None if entry.score is None or math.isnan(entry.score) else entry.score
        return cls(**_describe(image), similarity=entry.similarity, score=score, duplicates=list(entry.duplicates))


class ImagePage(BaseModel):
    """A page of images."""

    images: list[Image]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end.")
    total: int = Field(description="Images on all pages.")


class SearchPage(BaseModel):
    """A page of matches."""

    matches: list[Match]
    next_cursor: str | None = Field(description="`cursor` of the next page; null at the end.")
    total: int | None = Field(description="Matches on all pages, where that is known.")
    failed: int | None = Field(
        default=None,
        description="Images that `exclude_failed` left out; null on further pages and where it isn't asked.",
    )
    took_ms: float = Field(description="Milliseconds on the server.")


class Part(Request):
    """A part of a query: one of a text, an indexed image and an uploaded one."""

    text: str | None = None
    image_id: ImageId | None = None
    upload_id: UploadId | None = None
    weight: float = Field(default=1.0, description=f"{MIN_WEIGHT:g} to {MAX_WEIGHT:g}; below 0 where it isn't wanted.")

    @model_validator(mode="after")
    def _has_one(self) -> Part:
        if sum(value is not None for value in (self.text, self.image_id, self.upload_id)) != 1:
            raise ValueError("give one of text, image_id and upload_id")  # pydantic's way
        return self


class LabelFilter(Request):
    """A label that images must have."""

    label_set: Name
    label: Name
    min_score: Score | None = Field(
        default=None, description="Least score, the model's own; null for the label's own rule."
    )


class SearchRequest(Request):
    """What is searched for: a text, an image, several parts, or nothing (then all images are listed)."""

    query: str | None = Field(default=None, description="What the images show, in words.")
    image_id: ImageId | None = Field(default=None, description="Images like this one.")
    upload_id: UploadId | None = Field(default=None, description="Images like one that was uploaded to /v1/uploads.")
    parts: list[Part] | None = Field(default=None, min_length=1, max_length=32, description="A query of several parts.")
    collection: Name | None = None
    filter: Metadata | None = Field(default=None, description="Only images whose metadata contain this.")
    image_ids: list[ImageId] | None = Field(
        default=None, max_length=10_000, description="Only these images, such as the folded ones of a match."
    )
    min_score: Score | None = Field(default=None, description="Leave out what is less relevant.")
    labels: list[LabelFilter] = Field(default=[], max_length=32)
    exclude_failed: bool = Field(
        default=False,
        description="Without a query: leave out images that failed under the active model, and count them.",
    )
    sort: Sort = Field(
        default="relevance", description="`newest` and `oldest` go by when images were taken, or else added."
    )
    fold_duplicates: bool = Field(default=False, description="Show one of several images that are nearly the same.")
    min_duplicate_similarity: Annotated[float, Field(ge=0.5, le=1)] = 0.95
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(max_length=400)] | None = None

    @model_validator(mode="after")
    def _has_one_query(self) -> SearchRequest:
        if sum(value is not None for value in (self.query, self.image_id, self.upload_id, self.parts)) > 1:
            raise ValueError("give one of query, image_id, upload_id and parts")
        return self


class Upload(BaseModel):
    """An image that was uploaded to search by."""

    upload_id: str
    width: int
    height: int
    thumbnail: str = Field(description="Path of its thumbnail.")


class DataUrl(Request):
    """An image in a request."""

    image: Annotated[str, Field(description="A data URL: `data:image/png;base64,...`.")]


class ImageIds(Request):
    """Images by their ids."""

    image_ids: Annotated[list[ImageId], Field(min_length=1, max_length=10_000)]


class Tagging(ImageIds):
    """A change of images' metadata."""

    metadata: Metadata = Field(description="Keys and their new values; null takes a key out.")


class Count(BaseModel):
    """How many images something was done to."""

    images: int


def read_json_object(text: str, name: str) -> dict[str, Any]:
    """Read the JSON object that a parameter or a form's field holds as text.

    Raises:
        ProblemError: If it isn't one; the sentence calls it `name`.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProblemError(422, f"{name} isn't JSON: {error}.") from error
    if not isinstance(found, dict):
        raise ProblemError(422, f'{name} is a JSON object such as {{"album": "2026"}}.')
    return found


def version_of(image: StoredImage) -> str:
    """Tells an image's file from an earlier one of the same URI, for caches."""
    return hashlib.sha256(f"{image.uri} {image.source_version} {image.content_id}".encode()).hexdigest()[:12]


def _name_of(image: StoredImage) -> str:
    given = image.metadata.get(FILE_NAME)
    return given if isinstance(given, str) and given else name_of_uri(image.uri)


def _describe(image: StoredImage) -> dict[str, Any]:
    version = version_of(image)
    return {
        "image_id": image.image_id,
        "uri": hide_secrets(image.uri),
        "name": _name_of(image),
        "collection": image.collection,
        "key": image.key,
        "metadata": image.metadata,
        "width": image.width,
        "height": image.height,
        "format": image.format,
        "created_at": image.created_at,
        "state": image.state,
        "error_code": image.error_code,
        "error_message": image.error_message,
        "thumbnail": f"/v1/images/{image.image_id}/thumbnail?v={version}",
        "original": f"/v1/images/{image.image_id}/original?v={version}",
    }
