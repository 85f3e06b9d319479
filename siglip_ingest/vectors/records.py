"""Records: what is said of the image that a vector belongs to; one JSON line, or one row of a Parquet file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from siglip_ingest.db.checks import check_key, check_mapping, is_storable
from siglip_ingest.db.vectors import Record
from siglip_ingest.errors import InvalidInputError

FIELDS = ("uri", "collection", "key", "metadata", "content_hash", "width", "height", "format")
_KNOWN = frozenset(FIELDS)
MAX_ADDRESS_BYTES = 2600  # of collection and URI: PostgreSQL's B-tree takes 2,704 bytes an entry
_HASH = re.compile(r"[0-9a-fA-F]{64}")
_MAX_INTEGER = 2**31 - 1
# Made once: json.loads and json.dumps would cost twice the time that a line takes.
_decode = json.JSONDecoder().decode
_encode = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode


def read_records(path: Path, collection: str) -> Iterator[Record]:
    """Read a file of JSON lines, one record a line; blank lines may stand at its end.

    Args:
        path: The file.
        collection: Of the records that name none.

    Raises:
        InvalidInputError: If the file can't be read, or a line isn't a record; names the line.
    """
    blank = 0
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    blank = blank or number
                elif blank:
                    raise InvalidInputError(f"{path}, line {blank} is empty. Every line is a JSON object with a uri.")
                else:
                    place = f"{path}, line {number}"
                    yield make_record(_parse(line, place), place, collection)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror}.") from error


def _parse(line: bytes, place: str) -> Mapping[str, Any]:
    try:
        values = _decode(line.decode().removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{place} is not UTF-8: {error.reason} at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{place} is not JSON: {error.msg}, at column {error.colno}.") from error
    except ValueError as error:  # a number of too many digits
        raise InvalidInputError(f"{place} is not JSON: {error}.") from error
    except RecursionError as error:
        raise InvalidInputError(f"{place} is nested too deeply.") from error
    if not isinstance(values, dict):
        raise InvalidInputError(
            f'{place} is a JSON {_json_kind(values)}, not an object such as {{"uri": "https://example.com/1.jpg"}}.'
        )
    if not values.keys() <= _KNOWN:
        raise InvalidInputError(
            f"{place} has the unknown field {min(values.keys() - _KNOWN)!r}. The fields are {', '.join(FIELDS)}; what "
            "else is to be kept goes into metadata."
        )
    return values


def make_record(values: Mapping[str, Any], place: str, collection: str) -> Record:
    """Check what is said of one image.

    Args:
        values: By field; None counts as not given.
        place: Where they stand, for messages: "items.jsonl, line 3".
        collection: Of a record that names none.

    Raises:
        InvalidInputError: If a value is missing, of the wrong kind, or can't be stored.
    """
    get = values.get
    uri, own_collection = get("uri"), get("collection")
    key, metadata, content_hash = get("key"), get("metadata"), get("content_hash")
    width, height, image_format = get("width"), get("height"), get("format")
    try:
        if uri is None:
            raise InvalidInputError("has no uri. Say where the image is.")  # noqa: TRY301  # the place is added below
        uri = _check_text(uri, "uri")
        collection = collection if own_collection is None else _check_text(own_collection, "collection")
        if (
            len(uri) + len(collection) > MAX_ADDRESS_BYTES // 4
            and (size := len(uri.encode()) + len(collection.encode())) > MAX_ADDRESS_BYTES
        ):
            raise InvalidInputError(  # noqa: TRY301
                f"has a uri and a collection of {size:,} bytes together; at most {MAX_ADDRESS_BYTES:,} can be stored."
            )
        return Record(
            collection,
            uri,
            None if key is None else _check_key(key),
            None if metadata is None else _write_metadata(metadata),
            None if content_hash is None else _check_hash(content_hash),
            None if width is None else _check_pixels(width, "width"),
            None if height is None else _check_pixels(height, "height"),
            None if image_format is None else _check_text(image_format, "format"),
        )
    except InvalidInputError as error:
        raise InvalidInputError(f"{place} {error}") from error


def _check_text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidInputError(f"has a {field} that is not text but a JSON {_json_kind(value)}: {_shorten(value)}.")
    if not value.strip():
        raise InvalidInputError(f"has an empty {field}.")
    if "\0" in value or not (value.isascii() or is_storable(value)):
        raise InvalidInputError(f"has a {field} with a character that isn't text (U+0000 or half of a surrogate pair).")
    return value


def _check_key(value: object) -> str | None:
    if type(value) is str and value.isascii() and "\0" not in value:
        return value
    try:
        return check_key(value)
    except InvalidInputError as error:
        raise InvalidInputError(f"has a key that can't be kept. {error}") from error


def _check_pixels(value: object, field: str) -> int:
    if type(value) is not int or not 1 <= value <= _MAX_INTEGER:
        raise InvalidInputError(f"has a {field} that is not a number of pixels: {_shorten(value)}.")
    return value


def _check_hash(value: object) -> bytes:
    if isinstance(value, bytes) and len(value) == 32:  # a binary column of a Parquet file
        return value
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise InvalidInputError(f"has a content_hash that is not 64 hexadecimal digits (SHA-256): {_shorten(value)}.")
    return bytes.fromhex(value)


def _write_metadata(value: object) -> str:
    if not isinstance(value, dict):
        raise InvalidInputError(
            f"has metadata that are not a JSON object but a JSON {_json_kind(value)}: {_shorten(value)}."
        )
    try:
        written = _encode(value)
    except (TypeError, ValueError, RecursionError):
        written = "\\u"  # what is wrong is said below
    if "\\u" in written:  # it may hold what PostgreSQL refuses; else that was a letter outside of ASCII
        try:
            check_mapping(value, "metadata")
        except InvalidInputError as error:
            raise InvalidInputError(f"can't be kept: {error}") from error
    return written


def _shorten(value: object) -> str:
    written = repr(value)
    return written if len(written) <= 80 else f"{written[:80]} ..."


def _json_kind(value: object) -> str:
    for kinds, name in (((bool,), "boolean"), ((int, float), "number"), ((str,), "text"), ((list,), "array")):
        if isinstance(value, kinds):
            return name
    return "object" if isinstance(value, dict) else "null" if value is None else type(value).__name__
