"""The tools that say what an image shows, what is known of it, and what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mcp_types import CallToolResult
from pydantic import Field

from siglip_ingest import composing
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import reviewing
from siglip_ingest.db.items import count_all
from siglip_ingest.db.labels import list_label_sets
from siglip_ingest.db.models import get_active_model
from siglip_ingest.db.vectors import count_vectors
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.mcp import results
from siglip_ingest.mcp.messages import collect_warnings
from siglip_ingest.mcp.results import (
    DatabaseDescription,
    FoundImage,
    ImageDescription,
    LabelledScores,
    finite_or_none,
)
from siglip_ingest.mcp.searching import ImageId, make_answer
from siglip_ingest.mcp.thumbnails import show_thumbnails
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE, make_prompts
from siglip_ingest.sources import hide_secrets, name_of_uri
from siglip_ingest.types import IngestCounts

MAX_AD_HOC_LABELS = 20
MAX_BEST_LABELS = 10
MAX_COLLECTIONS = 100
MAX_LABEL_SETS = 50
MAX_LABELS_SHOWN = 100


class DescribingTools:
    """`label_image`, `describe_image` and `describe_database` of a client's database."""

    def __init__(self, client: SiglipClient) -> None:
        self._client = client

    def label_image(
        self,
        image_id: ImageId,
        label_set: Annotated[str | None, Field(description="Name of a stored label set.")] = None,
        labels: Annotated[
            list[str] | None,
            Field(max_length=MAX_AD_HOC_LABELS, description="Or labels of your own: ['a cat', 'a dog', 'indoors']."),
        ] = None,
        template: Annotated[
            str,
            Field(description="Makes the text that stands for a label of your own; {label} alone takes it as it is."),
        ] = DEFAULT_TEMPLATE,
    ) -> LabelledScores:
        """Score one indexed image against the labels of a set, or against any labels, best first (zero-shot)."""
        if (label_set is None) == (labels is None):
            raise InvalidInputError("Give either label_set, the name of a stored one, or labels, a list of your own.")
        with collect_warnings() as notes:
            if label_set is not None:
                scores = [(label, score) for label, score in self._client.label_scores(image_id, label_set)]
            else:
                scores = self._score_labels(image_id, labels or [], template)
        scored = [results.ScoredLabel(label=label, score=finite_or_none(score)) for label, score in scores]
        return LabelledScores(image_id=image_id, labels=scored, score_means=results.LABEL_SCORES, notes=notes)

    def describe_image(
        self,
        image_id: ImageId,
        nearest: Annotated[int, Field(ge=0, le=20, description="How many of the images most like it to list.")] = 5,
        thumbnail: Annotated[bool, Field(description="Whether to return a small image to look at too.")] = False,
    ) -> Annotated[CallToolResult, ImageDescription]:
        """Say what is known of an indexed image: metadata, size, collection, best labels, and the images most like it.

        The model doesn't write captions: ask for the thumbnail to see what the image shows.
        """
        described = self.describe(image_id, nearest)
        return make_answer(described, show_thumbnails(self._client, [image_id]) if thumbnail else ())

    def describe(self, image_id: int, nearest: int) -> ImageDescription:
        """What is known of an image, without its thumbnail.

        Raises:
            NotFoundError: If there is no such image.
        """
        record = self._client.get_image(image_id)
        labels = reviewing.list_image_labels(self._client.database, image_id)
        best = sorted(labels, key=lambda label: -(label.calibrated_score or 0))[:MAX_BEST_LABELS]
        matches = self._client.similar_images(image_id, limit=nearest) if record.is_embedded and nearest else []
        metadata = results.cut_metadata(record.metadata, results.DESCRIBED_CHARACTERS)
        return ImageDescription(
            image_id=image_id,
            name=name_of_uri(record.uri),
            uri=hide_secrets(record.uri),
            collection=record.collection,
            key=record.key,
            width=record.width,
            height=record.height,
            format=record.format,
            state=results.state_of(record),
            problem=record.error_message if record.state == "failed" else None,
            metadata=metadata,
            metadata_is_cut=len(metadata) < len(record.metadata),
            labels=[
                results.BestLabel(
                    label_set=each.label_set, label=each.label, score=finite_or_none(each.calibrated_score)
                )
                for each in best
            ],
            nearest=list(map(FoundImage.from_match, matches)),
        )

    def describe_database(self) -> DatabaseDescription:
        """Say what there is to search: the collections, the label sets with their labels, the model, and the counts."""
        collections = self._client.list_collections()
        with self._client.database.connection() as connection:
            model = get_active_model(connection)
            label_sets = list_label_sets(connection)
            if model is None:
                counts = IngestCounts()
            elif model.is_external:  # the ledger says nothing of what is imported
                counts = IngestCounts(done=count_vectors(connection, model.model_id))
            else:
                counts = count_all(connection, model.model_id)
        notes = [] if collections else ["There are no images yet."]
        if len(collections) > MAX_COLLECTIONS:
            collections = sorted(collections, key=lambda each: -each.images)[:MAX_COLLECTIONS]
            notes.append(f"Only the {MAX_COLLECTIONS} largest collections are listed.")
        if len(label_sets) > MAX_LABEL_SETS:
            notes.append(f"Only {MAX_LABEL_SETS} of {len(label_sets)} label sets are listed.")
        for each in label_sets[:MAX_LABEL_SETS]:
            if len(each.labels) > MAX_LABELS_SHOWN:
                notes.append(f"{each.name!r} has {len(each.labels)} labels; {MAX_LABELS_SHOWN} are listed.")
        return DatabaseDescription(
            model=None if model is None else _hide_folder(model.name),
            embedded=counts.done,
            queued=counts.queued,
            in_progress=counts.claimed,
            failed=counts.failed,
            collections=[results.Collection(collection=name, images=count) for name, count in collections],
            label_sets=[
                results.LabelSet(label_set=each.name, labels=each.labels[:MAX_LABELS_SHOWN])
                for each in label_sets[:MAX_LABEL_SETS]
            ],
            notes=notes,
        )

    def _score_labels(self, image_id: int, labels: list[str], template: str) -> list[tuple[str, float]]:
        """Score an indexed image against labels that aren't stored, best first."""
        scores = []
        for label, (prompt,) in make_prompts(labels, template).items():
            match = self._client.search_images([composing.text(prompt)], image_ids=[image_id], limit=1)
            if not match:
                record = self.describe(image_id, 0)
                raise NotFoundError(
                    f"Image {image_id} can't be scored: it is {record.state}. {record.problem or ''}".strip()
                )
            scores.append((label, match[0].score))
        return sorted(scores, key=lambda pair: -pair[1])


def _hide_folder(model: str) -> str:
    """The name of a model; of one in a folder without where that is."""
    path = Path(model)
    return path.name if path.is_absolute() else model
