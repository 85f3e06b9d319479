"""`/v1/search`: by text, image or several parts, narrowed, ordered and folded, in pages."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from siglip_ingest import composing
from siglip_ingest.composing import QueryTerm
from siglip_ingest.db import browsing
from siglip_ingest.db.checks import MAX_LIMIT
from siglip_ingest.db.models import described_model
from siglip_ingest.errors import DatabaseConflictError
from siglip_ingest.types import ImageMatch
from siglip_ingest.web.context import Context, InContext
from siglip_ingest.web.problems import ProblemError, describe_responses
from siglip_ingest.web.results import Entry, fold_duplicates, page_of_images, read_cursor, write_cursor
from siglip_ingest.web.schemas import ImageId, Match, Name, Part, SearchPage, SearchRequest, UploadId
from siglip_ingest.web.uploads import get_upload

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

router = APIRouter(prefix="/v1/search", tags=["search"])

MAX_FOLDED = 2_000  # best matches that are looked at for near-duplicates: their products take some tens of milliseconds
MAX_DATED = 100_000  # images that are ordered by date where nothing is searched for


@router.post("", responses=describe_responses(400, 404, 422, 503), summary="Search")
def search(context: InContext, body: SearchRequest) -> SearchPage:
    """Find images by a text, an image or several parts of both; or list all, where there is no query.

    `next_cursor` is the `cursor` of the next page. Pages neither skip nor repeat an image while others arrive.
    """
    return _answer(context, body)


@router.get("", responses=describe_responses(404, 422, 503), summary="Search by words")
def search_by_words(
    context: InContext,
    q: Annotated[str | None, Query(description="What the images show, in words.")] = None,
    image_id: Annotated[ImageId | None, Query(description="Images like this one.")] = None,
    upload_id: Annotated[UploadId | None, Query(description="Images like an uploaded one.")] = None,
    collection: Annotated[Name | None, Query()] = None,
    min_score: Annotated[float | None, Query(ge=0, le=1)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> SearchPage:
    """The same with the parameters that fit an address; `POST` takes all of them."""
    if sum(value is not None for value in (q, image_id, upload_id)) > 1:
        raise ProblemError(422, "Give one of q, image_id and upload_id; parts of a query go with POST.")
    body = SearchRequest(
        query=q,
        image_id=image_id,
        upload_id=upload_id,
        collection=collection,
        min_score=min_score,
        limit=limit,
        cursor=cursor,
    )
    return _answer(context, body)


def _answer(context: Context, body: SearchRequest) -> SearchPage:
    started = time.perf_counter()
    image_ids = _narrow(context, body)
    total: int | None = None
    if body.fold_duplicates or (body.sort != "relevance"):
        entries, cursor, total = context.lists.page(body.cursor, body.limit, lambda: _list(context, body, image_ids))
    elif _has_query(body):
        entries, cursor = _page_of_matches(context, body, image_ids)
    else:
        listing = _listing(body, image_ids)
        ids, cursor, total = page_of_images(context.client.database, listing, body.limit, body.cursor)
        entries = [Entry(image_id) for image_id in ids]
    return SearchPage(
        matches=describe_entries(context, entries),
        next_cursor=cursor,
        total=total,
        failed=_count_failed(context, body, image_ids),
        took_ms=round(1000 * (time.perf_counter() - started), 1),
    )


def describe_entries(context: Context, entries: Sequence[Entry]) -> list[Match]:
    """What the database knows of the images of some entries; one that was deleted meanwhile is left out."""
    images = browsing.describe_images(context.client.database, [entry.image_id for entry in entries])
    found = {image.image_id: image for image in images}
    return [Match.of_entry(entry, found[entry.image_id]) for entry in entries if entry.image_id in found]


def _has_query(body: SearchRequest) -> bool:
    return any(value is not None for value in (body.query, body.image_id, body.upload_id, body.parts))


def _page_of_matches(
    context: Context, body: SearchRequest, image_ids: list[int] | None
) -> tuple[list[Entry], str | None]:
    after = None if body.cursor is None else tuple(read_cursor(body.cursor, "s", float, int))
    matches = _search(context, body, image_ids, limit=body.limit + 1, after=after)
    page = matches[: body.limit]
    is_last = len(matches) == len(page)
    cursor = None if is_last else write_cursor("s", float(page[-1].similarity), page[-1].image_id)
    return _entries(page), cursor


def _count_failed(context: Context, body: SearchRequest, image_ids: list[int] | None) -> int | None:
    """How many images aren't listed since they failed; None where that isn't asked."""
    if not body.exclude_failed or _has_query(body) or body.cursor is not None:
        return None
    listing = replace(_listing(body, image_ids), state="failed", exclude_failed=False)
    return browsing.count_images(context.client.database, listing)


def _list(context: Context, body: SearchRequest, image_ids: list[int] | None) -> Sequence[Entry]:
    """All results: by date, folded, or both."""
    database = context.client.database
    if _has_query(body):
        # Folded, the best ones are looked at; by date, all that are relevant.
        limit = MAX_FOLDED if body.sort == "relevance" else MAX_LIMIT
        entries = _entries(_search(context, body, image_ids, limit=limit))
    else:
        listing = _listing(body, image_ids)
        limit = MAX_FOLDED if body.fold_duplicates and body.sort == "relevance" else MAX_DATED
        entries = [Entry(image_id) for image_id in browsing.list_image_ids(database, listing, limit=limit)]
    if body.sort != "relevance":
        dates = browsing.date_images(database, [entry.image_id for entry in entries])
        entries = [entry for entry in entries if entry.image_id in dates]
        entries.sort(key=lambda entry: (dates[entry.image_id], entry.image_id), reverse=body.sort == "newest")
    if body.fold_duplicates:
        looked_at = entries[:MAX_FOLDED]
        found = browsing.get_vectors(database, [entry.image_id for entry in looked_at])
        entries = [*fold_duplicates(looked_at, *found, body.min_duplicate_similarity), *entries[MAX_FOLDED:]]
    return entries


def _search(
    context: Context,
    body: SearchRequest,
    image_ids: list[int] | None,
    *,
    limit: int,
    after: Any = None,
) -> list[ImageMatch]:
    client = context.client
    options: dict[str, Any] = {
        "limit": min(limit, MAX_LIMIT),
        "collection": body.collection,
        "filter": body.filter,
        "min_score": body.min_score,
        "image_ids": image_ids,
        "after": after,
    }
    if body.image_id is not None:
        return client.similar_images(body.image_id, **options)
    if body.upload_id is not None:
        return client.search_images(_embed_upload(context, body.upload_id), **options)
    if body.parts is not None:
        return client.search_images([_term(context, part) for part in body.parts], **options)
    # As a part of a query a text is words, whatever it looks like: no address that a request names is fetched.
    return client.search_images(composing.text(body.query or ""), **options)


def _term(context: Context, part: Part) -> QueryTerm:
    if part.text is not None:
        return composing.text(part.text) * part.weight
    if part.image_id is not None:
        return composing.image(part.image_id) * part.weight
    assert part.upload_id is not None  # noqa: S101  # one of the three is there
    return composing.vector(_embed_upload(context, part.upload_id)) * part.weight


def _embed_upload(context: Context, upload_id: str) -> NDArray[np.float32]:
    """The (D,) vector of an upload under the active model, computed once for all pages."""
    client = context.client
    with client.database.connection() as connection:
        model_id = described_model(connection)[0].model_id
    content = get_upload(context, upload_id)

    def embed() -> NDArray[np.float32]:
        embedded_by, vector = client.embed_query(content)
        if embedded_by != model_id:
            raise DatabaseConflictError("The active model was changed while the image was embedded. Search again.")
        return vector

    return context.vectors.get((model_id, upload_id), embed)


def _narrow(context: Context, body: SearchRequest) -> list[int] | None:
    """Ids of the images that are asked for and have all labels that are; None where neither is."""
    found = None if body.image_ids is None else set(body.image_ids)
    for each in body.labels:
        matches = context.client.images_with_labels(
            each.label_set,
            all_of=[each.label],
            min_score=each.min_score,
            collection=body.collection,
            filter=body.filter,
        )
        ids = {match.image_id for match in matches}
        found = ids if found is None else found & ids
    return None if found is None else sorted(found)


def _listing(body: SearchRequest, image_ids: list[int] | None) -> browsing.Listing:
    return browsing.Listing(
        collection=body.collection, filter=body.filter, image_ids=image_ids, exclude_failed=body.exclude_failed
    )


def _entries(matches: Iterable[ImageMatch]) -> list[Entry]:
    return [Entry(match.image_id, match.similarity, match.score) for match in matches]
