"""The tools that change something: only where the server was started with `--allow-writes`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import InvalidInputError, WorkerUnavailableError
from siglip_ingest.ingest.expand import path_of_uri
from siglip_ingest.mcp.messages import collect_warnings
from siglip_ingest.mcp.results import FailedImage, IndexedImages, Marked
from siglip_ingest.process import expand_user
from siglip_ingest.sources import SourcePolicy, name_of_uri
from siglip_ingest.types import DEFAULT_COLLECTION

MARKED_BY = "mcp"  # tells a model's marks from people's
MAX_SOURCES = 100
MAX_LISTED = 50

ImageIds = Annotated[list[int], Field(max_length=1000)]


class WritingTools:
    """`index_images` and `mark_images` of a client's database."""

    def __init__(self, client: SiglipClient) -> None:
        self._client = client

    def index_images(
        self,
        sources: Annotated[
            list[str],
            Field(
                min_length=1,
                max_length=MAX_SOURCES,
                description="Absolute paths of image files or folders, or http(s), s3, gs or az addresses.",
            ),
        ],
        collection: Annotated[str, Field(description="The set of images that they join.")] = DEFAULT_COLLECTION,
        metadata: Annotated[dict[str, Any] | None, Field(description="Stored with each of them.")] = None,
        wait_s: Annotated[float, Field(ge=0, le=50, description="Seconds to wait for them to be embedded.")] = 20,
    ) -> IndexedImages:
        """Index images so that searches find them; folders with all images below. What is there already stays.

        Images that aren't done within wait_s go on being embedded: describe_database says how far all images are.
        """
        policy = SourcePolicy.for_user(self._client.settings)
        checked = [_check_source(source, policy) for source in sources]
        with collect_warnings() as notes:
            ingestion = self._client.enqueue_images(checked, collection=collection, metadata=metadata, progress=False)
            try:
                counts = ingestion.wait(wait_s, progress=False)
            except WorkerUnavailableError:
                counts = ingestion.counts()
                notes.append("Not all images are embedded yet; what is queued stays queued.")
        failures = ingestion.failures()[:MAX_LISTED] if counts.failed else []
        return IndexedImages(
            collection=collection,
            done=counts.done,
            queued=counts.queued,
            in_progress=counts.claimed,
            failed=counts.failed,
            image_ids=ingestion.image_ids[:MAX_LISTED],
            failures=[
                FailedImage(image_id=failure.image_id, name=name_of_uri(failure.uri), problem=failure.error_message)
                for failure in failures
            ],
            notes=notes,
        )

    def mark_images(
        self,
        label_set: Annotated[str, Field(description="Name of a stored label set.")],
        label: Annotated[str, Field(description="One of its labels.")],
        positives: Annotated[ImageIds, Field(description="Ids of images that have it.")] = [],  # noqa: B006
        negatives: Annotated[ImageIds, Field(description="Ids of images that don't.")] = [],  # noqa: B006
        unmark: Annotated[ImageIds, Field(description="Ids of images of which the model decides again.")] = [],  # noqa: B006
    ) -> Marked:
        """Say which images have a label and which don't, or take that back. A mark wins over the model's score.

        Look at the images first (thumbnails): marks are meant to be right.
        """
        if not (positives or negatives or unmark):
            raise InvalidInputError("No images are named. Give positives, negatives or unmark.")
        with collect_warnings() as notes:
            changed = self._client.mark_images(
                label_set, label, positives=positives, negatives=negatives, unmark=unmark, marked_by=MARKED_BY
            )
        return Marked(changed=changed, notes=notes)


def _check_source(source: str, policy: SourcePolicy) -> str | Path:
    """An address as it is, or a path that this server may read."""
    if "://" in source and not source.startswith("file:"):
        return source
    path = path_of_uri(source) if source.startswith("file:") else expand_user(source)
    if path is None or not path.is_absolute():
        raise InvalidInputError(
            f"{source!r} isn't an absolute path: the server can't know which folder it is meant from."
        )
    if "\0" in source or not policy.allows_file(os.path.realpath(path)):
        raise InvalidInputError(f"{source!r} isn't below a folder that this server may read (SIGLIP_ALLOWED_ROOTS).")
    return path
