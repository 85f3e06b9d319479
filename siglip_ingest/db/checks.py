"""Checks arguments before anything is sent to PostgreSQL or to a model.

Numpy's numbers are accepted and come back as Python's, since psycopg sends numpy's as other types. True and False are
not numbers here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeGuard

from siglip_ingest.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_LIMIT = 10_000
MAX_OFFSET = 1_000_000
MAX_DEPTH = 200  # levels of metadata: what writes JSON elsewhere gives up at some more
_NOT_TEXT = "a character that isn't text (U+0000 or half of a surrogate pair)"


def is_whole_number(value: object) -> TypeGuard[SupportsIndex]:
    """True for Python's and numpy's integers, not for True and False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_storable(text: str) -> bool:
    """False where a text holds what PostgreSQL's text can't: U+0000, or half of a surrogate pair."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def check_storable(text: str, what: str) -> None:
    """Check that PostgreSQL can store a text.

    Raises:
        InvalidInputError: If it holds U+0000 or half of a surrogate pair.
    """
    if not is_storable(text):
        raise InvalidInputError(f"{what} holds {_NOT_TEXT}. Remove it.")


def check_name(name: object, what: str) -> None:
    """Check the name of a collection or a label set.

    Args:
        name: The name.
        what: The thing, with its article: "A collection".

    Raises:
        InvalidInputError: If it isn't text, is empty, or can't be stored.
    """
    if not isinstance(name, str):
        raise InvalidInputError(f"{what}'s name is text, not {type(name).__name__}.")
    if not name.strip():
        raise InvalidInputError(f"{what} needs a name; an empty one was given.")
    check_storable(name, f"{what}'s name")


def check_key(key: object) -> str | None:
    """Check an image's key in the caller's own tables, and return it as text; None stays None.

    Raises:
        InvalidInputError: If it is neither text nor a whole number, or can't be stored.
    """
    if key is None:
        return None
    if is_whole_number(key):
        return str(key)
    if not isinstance(key, str):
        raise InvalidInputError(f"A key is text, not {type(key).__name__}.")
    check_storable(key, "A key")
    return key


def check_mapping(values: object, what: str) -> None:
    """Check that PostgreSQL can store something as a JSON object.

    Args:
        values: Metadata, or a filter for them; None is none.
        what: Its name in a message: "metadata".

    Raises:
        InvalidInputError: If it isn't a mapping that can be written as JSON, or a key or a value of it, at any depth,
            holds NaN, Infinity, U+0000 or half of a surrogate pair.
    """
    if values is None:
        return
    if not isinstance(values, Mapping):
        raise InvalidInputError(f"{what} must be a mapping such as {{'album': '2026'}}, not {values!r}.")
    try:
        written = json.loads(json.dumps(dict(values)))
        fault = next(_find_faults(written, what), None)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{what} can't be written as JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidInputError(f"{what} can't be written as JSON: it is nested too deeply.") from error
    if fault is not None:
        raise InvalidInputError(fault)


def check_query(query: object) -> None:
    """Check that a text can be searched for.

    Raises:
        InvalidInputError: If it isn't text, is empty, or holds what PostgreSQL can't store.
    """
    if not isinstance(query, str):
        raise InvalidInputError(f"A query is text, not {type(query).__name__}.")
    if not query.strip():
        raise InvalidInputError("The query is empty. Say in a few words what the image shows.")
    check_storable(query, "The query")


def check_vector(vector: object) -> NDArray[np.float32]:
    """Check a vector that is searched by, and return it as a (D,) float32 unit vector.

    Raises:
        InvalidInputError: If it isn't one row of finite numbers, or is zero.
    """
    import numpy as np

    try:
        numbers = np.asarray(vector)
    except ValueError as error:
        raise InvalidInputError(f"A vector is a row of numbers, such as [0.1, -0.3, ...]: {error}.") from error
    if numbers.size and numbers.dtype.kind not in "iuf":
        raise InvalidInputError(
            f"A vector is a row of numbers, such as [0.1, -0.3, ...], not {numbers.dtype} elements."
        )
    wide = numbers.astype(np.float64)
    if wide.ndim != 1 or wide.size == 0:
        raise InvalidInputError(f"A vector has the shape (D,), not {wide.shape}. Search by one at a time.")
    if not np.isfinite(wide).all():
        raise InvalidInputError("The vector holds NaN or infinite numbers.")
    largest = np.abs(wide).max()
    if largest == 0:
        raise InvalidInputError("The vector is zero: it has no direction to search by.")
    scaled = wide / largest  # squares of any number are in range then
    unit: NDArray[np.float32] = (scaled / np.linalg.norm(scaled)).astype(np.float32)
    return unit


def check_limit(limit: object, largest: int = MAX_LIMIT) -> int:
    """Check that a limit is a whole number from 1 to `largest`.

    Raises:
        InvalidInputError: If it isn't.
    """
    if not is_whole_number(limit) or not 1 <= int(limit) <= largest:
        raise InvalidInputError(f"limit must be a whole number from 1 to {largest:,}, not {limit!r}.")
    return int(limit)


def check_image_ids(image_ids: object) -> list[int] | None:
    """Check the images that a search is narrowed to; None is all.

    Raises:
        InvalidInputError: If they aren't whole numbers.
    """
    if image_ids is None:
        return None
    if isinstance(image_ids, str | bytes) or not isinstance(image_ids, Iterable):
        raise InvalidInputError(f"image_ids are a sequence of whole numbers, not {type(image_ids).__name__}.")
    return [check_image_id(image_id) for image_id in image_ids]


def check_offset(offset: object) -> int:
    """Check how many of the best matches to leave out.

    Raises:
        InvalidInputError: If it isn't a whole number from 0 to 1,000,000.
    """
    if not is_whole_number(offset) or not 0 <= int(offset) <= MAX_OFFSET:
        raise InvalidInputError(f"offset must be a whole number from 0 to {MAX_OFFSET:,}, not {offset!r}.")
    return int(offset)


def check_position(position: object) -> tuple[float, int] | None:
    """Check the (similarity, image_id) behind which a page begins; None is the beginning.

    Raises:
        InvalidInputError: If it isn't such a pair.
    """
    if position is None:
        return None
    if not isinstance(position, tuple) or len(position) != 2 or not _is_finite(position[0]):
        raise InvalidInputError(f"after is a match, or its (similarity, image_id), not {position!r}.")
    return float(position[0]), check_image_id(position[1])


def check_min_score(min_score: object) -> float | None:
    """Check that the least score is a number from 0 to 1, or None.

    Raises:
        InvalidInputError: If it is neither.
    """
    if min_score is None:
        return None
    if not _is_number(min_score) or not 0 <= float(min_score) <= 1:
        raise InvalidInputError(f"min_score must be a number from 0 to 1, not {min_score!r}.")
    return float(min_score)


def check_sample(sample: object) -> int:
    """Check how many queries recall is measured with.

    Raises:
        InvalidInputError: If it isn't a whole number from 1 to 10,000.
    """
    if not is_whole_number(sample) or not 1 <= int(sample) <= MAX_LIMIT:
        raise InvalidInputError(f"sample must be a whole number from 1 to {MAX_LIMIT:,}, not {sample!r}.")
    return int(sample)


def check_recall(target_recall: object) -> float:
    """Check a recall that searches are to reach.

    Raises:
        InvalidInputError: If it isn't a number from 0.5 to 1.
    """
    if not _is_number(target_recall) or not 0.5 <= float(target_recall) <= 1:
        raise InvalidInputError(f"target_recall must be a number from 0.5 to 1, not {target_recall!r}.")
    return float(target_recall)


def check_image_id(image_id: object) -> int:
    """Check that a number can be the id of an image.

    Raises:
        InvalidInputError: If it isn't a whole number.
        NotFoundError: If no database can hold it.
    """
    if not is_whole_number(image_id):
        raise InvalidInputError(f"image_id must be a whole number, not {image_id!r}.")
    if not 0 < int(image_id) < 2**63:
        raise NotFoundError(f"There is no image {image_id}.")
    return int(image_id)


def _is_finite(value: object) -> TypeGuard[SupportsFloat]:
    return _is_number(value) and math.isfinite(value)


def _is_number(value: object) -> TypeGuard[SupportsFloat]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _find_faults(value: Any, place: str, depth: int = 0) -> Iterator[str]:
    """Say what of a parsed JSON value PostgreSQL refuses, or nobody could read again, and where it is."""
    if depth > MAX_DEPTH:
        yield f"{place[:200]} is nested more than {MAX_DEPTH} levels deep. Make it flatter."
    elif isinstance(value, str) and not is_storable(value):
        yield f"{place} holds {_NOT_TEXT}. Remove it."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}, which JSON doesn't have. Leave it out, or give None."
    elif isinstance(value, dict):
        for key, part in value.items():
            if not is_storable(key):
                yield f"The key {key!r} of {place} holds {_NOT_TEXT}. Remove it."
            yield from _find_faults(part, f"{place}[{key!r}]", depth + 1)
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _find_faults(part, f"{place}[{index}]", depth + 1)
