"""What stands below an image, and in the columns of a table: the same words in a notebook and in a terminal."""

from __future__ import annotations

import dataclasses
import math
from datetime import datetime
from typing import Any, NamedTuple

from siglip_ingest.sources.uris import format_uri, hide_secrets

_LINE_LETTERS = 300
_HASH_LETTERS = 8  # of sha256:..., which is what an image is called that was given as bytes


class Caption(NamedTuple):
    """The words below an image.

    Attributes:
        value: What the results are ordered by: a score such as 0.873, or for how many images it stands.
        name: Its id and the last part of its address.
        details: The whole address and all that else is known, a line each.
    """

    value: str
    name: str
    details: str


def make_caption(row: Any) -> Caption:
    """Describe a row that has an `image_id` and a `uri`, whatever else it has."""
    others = {name: value for name, value in get_values(row).items() if name not in {"image_id", "uri"}}
    lines = [f"{name}: {format_value(value)}" for name, value in others.items() if value not in (None, {})]
    details = "\n".join(_cut(line) for line in (format_uri(hide_secrets(row.uri)), *lines))
    return Caption(_describe(others), _cut(f"#{row.image_id} {shorten_uri(row.uri)}"), details)


def list_columns(row_type: type[Any]) -> list[str]:
    """The columns of a kind of row: the fields of a dataclass or of a named tuple."""
    if dataclasses.is_dataclass(row_type):
        return [field.name for field in dataclasses.fields(row_type)]
    names: tuple[str, ...] = row_type._fields
    return list(names)


def get_values(row: Any) -> dict[str, Any]:
    """The values of a row by their columns; none is copied."""
    return {name: getattr(row, name) for name in list_columns(type(row))}


def format_value(value: Any) -> str:
    """A value in a cell of a table."""
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.3f}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {format_value(each)}" for key, each in value.items())
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return {None: "", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def shorten_uri(uri: str) -> str:
    """The last part of an address, which is the name of a file."""
    name = format_uri(hide_secrets(uri)).rstrip("/").rsplit("/", 1)[-1].rsplit("#member=", 1)[-1]
    kind, _, digest = name.partition(":")
    return f"{kind}:{digest[:_HASH_LETTERS]}…" if kind == "sha256" else name


def _cut(line: str) -> str:
    """At most so much of a line: metadata may be long."""
    return line if len(line) <= _LINE_LETTERS else f"{line[:_LINE_LETTERS]}…"


def _describe(values: dict[str, Any]) -> str:
    """The value that stands out of a row."""
    if "images" in values:
        return f"for {values['images']:,}"
    score = values.get("score")
    if values.get("marked_by") is not None:
        return "marked" if values["is_accepted"] else "marked: no"
    if score is None or math.isnan(score):
        score = values.get("similarity")
    return "-" if score is None else format_value(score)
