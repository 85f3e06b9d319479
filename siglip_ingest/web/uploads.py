"""`/v1/uploads`: images to search by, kept for a while in a cache that doesn't grow."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated

from fastapi import APIRouter, Path, UploadFile
from fastapi.responses import Response

from siglip_ingest.siglip.preprocess.opening import open_image
from siglip_ingest.thumbnails import MEDIA_TYPE
from siglip_ingest.web.context import Context, InContext, name_of_content
from siglip_ingest.web.problems import ProblemError, describe_responses
from siglip_ingest.web.schemas import DataUrl, Upload

router = APIRouter(prefix="/v1/uploads", tags=["search"])

THUMBNAIL_PIXELS = 320
_NOT_A_DATA_URL = "An image is a data URL, data:image/png;base64,... with its bytes."
_DATA_URL = re.compile(r"data:(?:image/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,", re.IGNORECASE)


def decode_data_url(text: str) -> bytes:
    """The bytes of a base64 data URL.

    Raises:
        ProblemError: If it isn't one.
    """
    header = _DATA_URL.match(text)
    if header is None:
        raise ProblemError(422, _NOT_A_DATA_URL)
    try:
        return base64.b64decode(text[header.end() :], validate=True)
    except (ValueError, binascii.Error) as error:
        raise ProblemError(422, _NOT_A_DATA_URL) from error


def get_upload(context: Context, upload_id: str) -> bytes:
    """The bytes of an upload.

    Raises:
        ProblemError: If it isn't kept any more.
    """
    content = context.uploads.find(upload_id)
    if content is None:
        raise ProblemError(404, "That image isn't kept any more. Upload it again.", code="upload_gone")
    return content


def _keep(context: Context, content: bytes) -> Upload:
    image = open_image(content, context.settings.image_limits)
    upload_id = name_of_content(content)
    context.uploads.get(upload_id, lambda: content)
    return Upload(
        upload_id=upload_id, width=image.width, height=image.height, thumbnail=f"/v1/uploads/{upload_id}/thumbnail"
    )


@router.post(
    "", status_code=201, responses=describe_responses(400, 413, 415, 422), summary="Upload an image to search by"
)
def upload_image(context: InContext, file: UploadFile) -> Upload:
    """Keep an image to search by; `upload_id` stands for it in `/v1/search`.

    It is kept in a cache of limited size: an image that nobody used for long has to be uploaded again.
    """
    return _keep(context, file.file.read())


@router.post(
    "/data", status_code=201, responses=describe_responses(400, 413, 422), summary="Upload an image as a data URL"
)
def upload_data_url(context: InContext, body: DataUrl) -> Upload:
    """Keep an image to search by, which is given as a data URL."""
    return _keep(context, decode_data_url(body.image))


@router.get(
    "/{upload_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}}, **describe_responses(404)},
    summary="The thumbnail of an uploaded image",
)
def get_upload_thumbnail(context: InContext, upload_id: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """A WebP of at most 320 pixels a side."""
    content = get_upload(context, upload_id)
    made = context.get_thumbnail(upload_id, THUMBNAIL_PIXELS, lambda: content)
    return Response(made, media_type=MEDIA_TYPE, headers={"Cache-Control": "private, max-age=86400"})
