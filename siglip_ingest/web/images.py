"""`/v1/images` and `/v1/collections`: what is stored, thumbnails, originals, adding, tagging, deleting."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import Response, StreamingResponse

from siglip_ingest.db import browsing
from siglip_ingest.image_files import open_image_file
from siglip_ingest.thumbnails import MEDIA_TYPE
from siglip_ingest.web.context import InContext
from siglip_ingest.web.problems import ProblemError, describe_responses
from siglip_ingest.web.results import page_of_images
from siglip_ingest.web.schemas import (
    MAX_BIGINT,
    Collection,
    Count,
    Image,
    ImageIds,
    ImagePage,
    Name,
    Tagging,
    read_json_object,
    version_of,
)

router = APIRouter(prefix="/v1", tags=["images"])

State = Literal["queued", "claimed", "done", "failed"]


class ThumbnailSize(IntEnum):
    """The longer side of a thumbnail, pixels. Not a Literal: that would compare with the query's text."""

    TINY = 160
    SMALL = 320
    MEDIUM = 640
    LARGE = 1280


PathId = Annotated[int, Path(ge=1, le=MAX_BIGINT)]


# What browsers show; other formats are downloaded.
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "AVIF": "image/avif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "HEIF": "image/heif",
    "JXL": "image/jxl",
}


@router.get("/collections", summary="List the collections")
def list_collections(context: InContext) -> list[Collection]:
    """The collections and how many images each has."""
    found = context.client.list_collections()
    return [Collection(collection=name, images=images) for name, images in found]


@router.get("/images", responses=describe_responses(422), summary="List images")
def list_images(
    context: InContext,
    collection: Annotated[Name | None, Query()] = None,
    filter: Annotated[str | None, Query(description="JSON: only images whose metadata contain it.")] = None,  # noqa: A002
    state: Annotated[State | None, Query(description="Under the active model.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> ImagePage:
    """Images, the last added first."""
    database = context.client.database
    wanted = None if filter is None else read_json_object(filter, "filter")
    listing = browsing.Listing(collection=collection, filter=wanted, state=state)
    page, following, total = page_of_images(database, listing, limit, cursor)
    images = [Image.of(image) for image in browsing.describe_images(database, page)]
    return ImagePage(images=images, next_cursor=following, total=total)


@router.get("/images/{image_id}", responses=describe_responses(404, 422), summary="Describe an image")
def get_image(context: InContext, image_id: PathId) -> Image:
    """What is known of an image."""
    return Image.of(context.client.get_image(image_id))


@router.delete("/images/{image_id}", responses=describe_responses(404, 422), summary="Delete an image")
def delete_image(context: InContext, image_id: PathId) -> Count:
    """Delete an image's row, vector and scores. Its file stays where it is."""
    deleted = context.client.delete_images([image_id])
    if deleted == 0:
        raise ProblemError(404, f"There is no image {image_id}.")
    return Count(images=deleted)


@router.post("/images/delete", responses=describe_responses(400, 422), summary="Delete several images")
def delete_images(context: InContext, body: ImageIds) -> Count:
    """Delete images' rows, vectors and scores; ids that don't exist are passed over. Their files stay."""
    return Count(images=context.client.delete_images(body.image_ids))


@router.post("/images/tag", responses=describe_responses(400, 422), summary="Change several images' metadata")
def tag_images(context: InContext, body: Tagging) -> Count:
    """Set keys of images' metadata, and take out those whose value is null; other keys stay."""
    return Count(images=context.client.change_metadata(body.image_ids, body.metadata))


@router.get(
    "/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}, **describe_responses(404, 422)},
    summary="An image's thumbnail",
)
def get_thumbnail(
    context: InContext,
    image_id: PathId,
    size: Annotated[ThumbnailSize, Query(description="Longer side, pixels.")] = ThumbnailSize.SMALL,
    v: Annotated[str | None, Query(max_length=64, description="Version; with it the answer may be kept.")] = None,
) -> Response:
    """A WebP of the whole image, upright, made once."""
    client = context.client
    image = client.get_image(image_id)
    version = version_of(image)
    made = context.get_thumbnail(f"{version} {image.uri}", size, lambda: client.read_image(image_id))
    return Response(made, media_type=MEDIA_TYPE, headers={"Cache-Control": _caching(is_current=v == version)})


@router.get(
    "/images/{image_id}/original",
    response_class=StreamingResponse,
    responses={200: {"content": {"image/*": {}}}, **describe_responses(404, 422)},
    summary="An image's file",
)
def get_original(
    context: InContext,
    image_id: PathId,
    v: Annotated[str | None, Query(max_length=64, description="Version; with it the answer may be kept.")] = None,
) -> StreamingResponse:
    """The file as it is, read again where it was indexed from."""
    client = context.client
    image = client.get_image(image_id)
    file = open_image_file(client.database, image_id, context.settings)
    headers = {
        "Cache-Control": _caching(is_current=v == version_of(image)),
        "Content-Length": str(file.size),
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    media_type = _MEDIA_TYPES.get(file.format, "application/octet-stream")
    return StreamingResponse(file.blocks, media_type=media_type, headers=headers)


def _caching(*, is_current: bool) -> str:
    return "private, max-age=31536000, immutable" if is_current else "private, no-cache"
