"""Checks arguments before anything is sent to PostgreSQL or to a model.

Numpy's numbers are accepted and come back as Python's, since psycopg sends numpy's as other types. True and False are
not numbers here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from numbers import Integral, Real
from typing import Any, SupportsFloat, SupportsIndex, TypeGuard

from siglip_ingest.errors import InvalidInputError, NotFoundError

MAX_LIMIT = 10_000
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


def check_limit(limit: object) -> int:
    """Check that a limit is a whole number from 1 to 10,000.

    Raises:
        InvalidInputError: If it isn't.
    """
    if not is_whole_number(limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise InvalidInputError(f"limit must be a whole number from 1 to {MAX_LIMIT:,}, not {limit!r}.")
    return int(limit)


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


def _is_number(value: object) -> TypeGuard[SupportsFloat]:
    return isinstance(value, Real) and not isinstance(value, bool)


def _find_faults(value: Any, place: str) -> Iterator[str]:
    """Say what of a parsed JSON value PostgreSQL refuses, and where it is."""
    if isinstance(value, str) and not is_storable(value):
        yield f"{place} holds {_NOT_TEXT}. Remove it."
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{place} is {value}, which JSON doesn't have. Leave it out, or give None."
    elif isinstance(value, dict):
        for key, part in value.items():
            if not is_storable(key):
                yield f"The key {key!r} of {place} holds {_NOT_TEXT}. Remove it."
            yield from _find_faults(part, f"{place}[{key!r}]")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _find_faults(part, f"{place}[{index}]")
