"""`/v1/embeddings`: vectors, with OpenAI's request and answer; images as vLLM and Infinity take them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from siglip_ingest.client.embedding import EmbeddedQueries
from siglip_ingest.db.models import described_model
from siglip_ingest.search import is_address
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.embedding_types import EmbeddingList, EmbeddingRequest
from siglip_ingest.web.problems import FieldError, ProblemError, describe_responses
from siglip_ingest.web.uploads import decode_data_url, is_data_url

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/v1", tags=["embeddings"])

MAX_IMAGES = 64
IMAGES_AT_A_TIME = 8  # that are decoded in memory
_NOT_FETCHED = "Addresses aren't fetched: send the image itself, as a data URL (data:image/png;base64,...)."


@router.post(
    "/embeddings",
    response_model=EmbeddingList,
    responses=describe_responses(400, 404, 413, 422, 503),
    summary="Embed texts or images",
)
def create_embeddings(context: InContext, body: EmbeddingRequest) -> JSONResponse:
    """Unit vectors of the active model, of texts and of images alike, so that they can be compared.

    `input` is a text or a list of texts (OpenAI's), and of data URLs of images (Infinity's); or `messages` hold one
    text or one image (vLLM's). Each text is padded to the model's full length, as in training, so that its vector
    doesn't depend on what it is sent with.
    """
    rows = _read_rows(body)
    with context.client.database.connection() as connection:
        model, info = described_model(connection)
    _check_model(body.model, model.name)
    if body.dimensions is not None and body.dimensions != info.dimension:
        raise _invalid("dimensions", f"{model.name} gives {info.dimension} dimensions; vectors can't be shortened.")
    vectors: dict[int, NDArray[np.float32]] = {}
    tokens = 0
    for is_image in (False, True):
        places = [place for place, row in enumerate(rows) if isinstance(row, bytes) == is_image]
        at_a_time = IMAGES_AT_A_TIME if is_image else len(rows)
        for start in range(0, len(places), at_a_time):
            chosen = places[start : start + at_a_time]
            embedded = _embed(context, [rows[place] for place in chosen])
            if embedded.model != model.name:
                raise ProblemError(503, "The active model changed meanwhile. Try again.", headers={"Retry-After": "1"})
            tokens += embedded.tokens
            vectors |= dict(zip(chosen, embedded.vectors, strict=True))
    data = [
        {"object": "embedding", "index": index, "embedding": _encode(vectors[index], body.encoding_format)}
        for index in range(len(rows))
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return JSONResponse({"object": "list", "data": data, "model": model.name, "usage": usage})


def _embed(context: Context, rows: list[str | bytes]) -> EmbeddedQueries:
    if isinstance(rows[0], bytes):
        return context.client.embed_images([row for row in rows if isinstance(row, bytes)])
    return context.client.embed_texts([row for row in rows if isinstance(row, str)])


def _read_rows(body: EmbeddingRequest) -> list[str | bytes]:
    """What is to be embedded: texts, and the bytes of images.

    Raises:
        ProblemError: If something is neither, or there is too much of it.
    """
    if body.messages is not None:
        text, image = body.read_messages()
        rows: list[str | bytes] = [text if image is None else _read_image(image, "messages")]
    else:
        inputs = [body.input] if isinstance(body.input, str) else list(body.input or ())
        rows = [_read_input(row, body.modality, f"input/{index}") for index, row in enumerate(inputs)]
    for index, row in enumerate(rows):
        if isinstance(row, str) and not row.strip():
            raise _invalid(f"input/{index}", "The text is empty. Say in a few words what the image shows.")
    images = sum(isinstance(row, bytes) for row in rows)
    if images > MAX_IMAGES:
        raise _invalid("input", f"A request may have {MAX_IMAGES} images, not {images}.")
    return rows


def _read_input(row: str, modality: str | None, where: str) -> str | bytes:
    if modality == "text":
        return row
    if modality == "image" or is_data_url(row):
        return _read_image(row, where)
    if is_address(row):
        raise _invalid(where, f'{_NOT_FETCHED} If the address is the text, say "modality": "text".')
    return row


def _read_image(url: str, where: str) -> bytes:
    if is_address(url):
        raise _invalid(where, _NOT_FETCHED)
    try:
        return decode_data_url(url)
    except ProblemError as error:
        raise _invalid(where, error.detail) from error


def _check_model(asked: str | None, active: str) -> None:
    if asked and asked not in {active, active.rstrip("/").rpartition("/")[2]}:
        raise ProblemError(
            404,
            f"The model {asked[:200]!r} isn't the active one, {active!r}; only that one embeds queries.",
            code="model_not_found",
        )


def _encode(vector: NDArray[np.float32], encoding: str) -> str | list[float]:
    """A vector as OpenAI gives it: numbers, or the base64 of little-endian float32."""
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


def _invalid(pointer: str, detail: str) -> ProblemError:
    return ProblemError(422, detail, errors=[FieldError(detail=detail, pointer=f"#/{pointer}")])
