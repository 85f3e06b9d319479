"""`POST /v1/images`: addresses and files to be indexed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, UploadFile
from pydantic import BaseModel, Field

from siglip_ingest.db import ingestions
from siglip_ingest.db.checks import check_mapping, check_name
from siglip_ingest.ingest import ImageSource
from siglip_ingest.search import is_address
from siglip_ingest.types import DEFAULT_COLLECTION
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.ingestions import Counts
from siglip_ingest.web.problems import ProblemError, describe_responses
from siglip_ingest.web.schemas import FILE_NAME, MAX_BIGINT, Metadata, Name, Request, read_json_object

router = APIRouter(prefix="/v1/images", tags=["images"])

Url = Annotated[str, Field(max_length=4096)]


class NewImages(Request):
    """Addresses of images to be indexed."""

    urls: Annotated[list[Url], Field(min_length=1, max_length=10_000)] = Field(description="http(s) addresses.")
    collection: Name = DEFAULT_COLLECTION
    metadata: Metadata = Field(default={}, description="Kept with each image, and what searches filter by.")


class RefusedFile(BaseModel):
    """A file that wasn't queued."""

    name: str
    reason: str


class Enqueued(BaseModel):
    """What was queued. `/v1/ingestions/{ingestion_id}` says how far it is."""

    ingestion_id: int | None = Field(description="null where every file was refused.")
    counts: Counts
    refused: list[RefusedFile] = Field(description="Files that weren't queued, and why.")


@router.post("", status_code=202, responses=describe_responses(400, 422), summary="Index images by their addresses")
def enqueue_urls(context: InContext, body: NewImages) -> Enqueued:
    """Queue images of the web; they are in the database when this answers, and workers fetch and embed them.

    An address that is in the collection already is embedded again only if it had failed; new metadata are merged.
    """
    for place, url in enumerate(body.urls):
        if not is_address(url):
            raise ProblemError(422, f"urls/{place}: {url[:200]!r} isn't an http(s) address.")
    ingestion = context.client.enqueue_images(
        body.urls, collection=body.collection, metadata=body.metadata, progress=False
    )
    counts = Counts.of(ingestion.counts())
    return Enqueued(ingestion_id=ingestion.ingestion_id, counts=counts, refused=[])


@router.post(
    "/files", status_code=202, responses=describe_responses(400, 404, 413, 415, 422), summary="Index uploaded images"
)
def enqueue_files(
    context: InContext,
    files: list[UploadFile],
    collection: Annotated[str, Form(min_length=1, max_length=1000)] = DEFAULT_COLLECTION,
    metadata: Annotated[str, Form(description="JSON, kept with each image.")] = "{}",
    ingestion_id: Annotated[int | None, Form(ge=1, le=MAX_BIGINT, description="An ingestion that they join.")] = None,
) -> Enqueued:
    """Queue image files; the database keeps their bytes. Each file's name is kept in its metadata, as `file_name`.

    A file that isn't an image ends as failed in the ingestion; an empty one is refused here. Others go on. Many files
    are sent in several requests: those after the first name its `ingestion_id`, and all are followed as one.
    `ingestion_id` and `counts` of the answer are another ingestion's if the active model was changed meanwhile.
    """
    check_name(collection, "A collection")
    client = context.client
    if ingestion_id is not None and _collection_of(context, ingestion_id) != collection:
        raise ProblemError(422, f"Ingestion {ingestion_id} isn't one of the collection {collection!r}.")
    shared = read_json_object(metadata, "metadata")
    check_mapping(shared, "metadata")
    sources, refused = [], []
    for file in files:
        content, name = file.file.read(), (file.filename or "unnamed")[-1000:].replace("\0", "")
        if content:
            sources.append(ImageSource(content, metadata={FILE_NAME: name}))
        else:
            refused.append(RefusedFile(name=name, reason="The file is empty."))
    if not sources:
        return Enqueued(ingestion_id=ingestion_id, counts=Counts(), refused=refused)
    queued_id = client.enqueue_images(sources, collection=collection, metadata=shared, progress=False).ingestion_id
    if ingestion_id is not None:
        queued_id = client.join_ingestions(ingestion_id, queued_id)
    with client.database.connection() as connection:
        counts = Counts.of(ingestions.count_items(connection, queued_id))
    return Enqueued(ingestion_id=queued_id, counts=counts, refused=refused)


def _collection_of(context: Context, ingestion_id: int) -> str | None:
    with context.client.database.connection() as connection:
        return ingestions.describe_ingestion(connection, ingestion_id).collection
