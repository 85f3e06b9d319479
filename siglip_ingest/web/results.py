"""Pages of results that neither skip nor repeat an image.

What is ordered by similarity goes on behind the last match, wherever that is by then. What is ordered by date, or
folded, is a list that is made once and kept for its further pages.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from siglip_ingest.db import Database, browsing
from siglip_ingest.db.browsing import Listing
from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEPT_LISTS = 2_000
KEPT_ENTRIES = 2_000_000  # of all lists: some hundred megabytes
_BAD_CURSOR = "The cursor isn't one that an answer gave as next_cursor. Ask without it for the first page."


class Entry(NamedTuple):
    """One place in a list.

    Attributes:
        image_id: The image.
        similarity: Cosine of query and image; None where there is no query.
        score: In [0, 1]; None where there is no query, or the model has no scores.
        duplicates: Ids of the images that are folded below it.
    """

    image_id: int
    similarity: float | None = None
    score: float | None = None
    duplicates: tuple[int, ...] = ()


@dataclass(frozen=True)
class ResultList:
    """All results of one search, in order. `list_id` tells it from any other."""

    list_id: str
    entries: Sequence[Entry]


class ResultLists:
    """The newest lists, for their further pages. Thread-safe."""

    def __init__(self) -> None:
        self._lists: OrderedDict[str, ResultList] = OrderedDict()
        self._entries = 0
        self._lock = threading.Lock()

    def add(self, entries: Sequence[Entry]) -> ResultList:
        """Keep a list."""
        made = ResultList(secrets.token_urlsafe(9), entries)
        with self._lock:
            self._lists[made.list_id] = made
            self._entries += len(entries)
            while len(self._lists) > 1 and (len(self._lists) > KEPT_LISTS or self._entries > KEPT_ENTRIES):
                self._entries -= len(self._lists.popitem(last=False)[1].entries)
        return made

    def page(
        self, cursor: str | None, limit: int, make: Callable[[], Sequence[Entry]]
    ) -> tuple[Sequence[Entry], str | None, int]:
        """A page of a list that is kept, or is made for it.

        Args:
            cursor: Of the page; None for the first.
            limit: Entries of a page.
            make: Makes the list, for the first page, or where it isn't kept any more: the page then begins behind the
                last image that was shown, if it is still in the list.

        Returns:
            The page, the next one's cursor, and the length of the whole list.

        Raises:
            InvalidInputError: If the cursor isn't one of ours.
        """
        start, found = 0, None
        if cursor is not None:
            list_id, start, last = read_cursor(cursor, "l", str, int, int)
            with self._lock:
                found = self._lists.get(list_id)
                if found is not None:
                    self._lists.move_to_end(list_id)
        if found is None:
            found = self.add(make())
            if cursor is not None:
                places = (place for place, entry in enumerate(found.entries, 1) if entry.image_id == last)
                start = next(places, start)
        page = found.entries[start : start + limit]
        end = start + len(page)
        following = write_cursor("l", found.list_id, end, page[-1].image_id) if end < len(found.entries) else None
        return page, following, len(found.entries)


def page_of_images(
    database: Database, listing: Listing, limit: int, cursor: str | None
) -> tuple[list[int], str | None, int]:
    """A page of a listing, the last added first: ids, the next page's cursor, and the length of the whole.

    Raises:
        InvalidInputError: If the cursor isn't one of ours.
    """
    after = None if cursor is None else read_cursor(cursor, "i", int)[0]
    ids = browsing.list_image_ids(database, listing, limit=limit + 1, after_id=after)
    following = write_cursor("i", ids[limit - 1]) if len(ids) > limit else None
    return ids[:limit], following, browsing.count_images(database, listing)


def write_cursor(kind: str, *parts: Any) -> str:
    """Make the cursor of a page, text for a URL."""
    return base64.urlsafe_b64encode(json.dumps([kind, *parts]).encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: str, *types: type) -> Any:
    """Take a cursor apart, as `write_cursor` made it.

    Raises:
        InvalidInputError: If it is of another kind, or none of ours.
    """
    try:
        found, *parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(_BAD_CURSOR) from error
    if found != kind or len(parts) != len(types) or any(type(part) is not kind_ for part, kind_ in zip(parts, types)):  # noqa: B905
        raise InvalidInputError(_BAD_CURSOR)
    if any(isinstance(part, int) and not 0 <= part < 2**63 for part in parts):
        raise InvalidInputError(_BAD_CURSOR)
    return parts


def fold_duplicates(
    entries: Sequence[Entry], image_ids: Sequence[int], vectors: NDArray[np.float32], min_similarity: float
) -> list[Entry]:
    """Put entries below the first one that they are nearly the same as.

    Args:
        entries: In order.
        image_ids: N ids of those that have a vector.
        vectors: (N, D) float32 unit vectors.
        min_similarity: Least cosine of two that are nearly the same.
    """
    import numpy as np

    places = {image_id: place for place, image_id in enumerate(image_ids)}
    folded: dict[int, list[int]] = {}
    heads: list[int] = []
    rows = np.empty_like(vectors)
    for entry in entries:
        place = places.get(entry.image_id)
        if place is not None and heads:
            similarities = rows[: len(heads)] @ vectors[place]
            nearest = int(np.argmax(similarities >= min_similarity))
            if similarities[nearest] >= min_similarity:
                folded[heads[nearest]].append(entry.image_id)
                continue
        if place is not None:
            rows[len(heads)] = vectors[place]
            heads.append(entry.image_id)
        folded[entry.image_id] = []
    return [entry._replace(duplicates=tuple(folded[entry.image_id])) for entry in entries if entry.image_id in folded]
