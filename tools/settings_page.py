"""Writes docs/settings.md from the fields of the settings: `python -m tools.settings_page`."""

from __future__ import annotations

import dataclasses
from inspect import get_annotations
from pathlib import Path
from typing import Any

from siglip_ingest.process.environment import Rule, kind_of
from siglip_ingest.settings import Settings

PAGE = Path(__file__).parents[1] / "docs/settings.md"

_INTRODUCTION = """\
# Settings

The command line, the workers and the functions of `siglip_ingest` read these environment variables. In Python they are
the fields of `siglip_ingest.settings.Settings`. A blank variable counts as unset. `make docs` makes this page from the
code.
"""
_TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "Path": "folder",
    "tuple[Path, ...]": "folders, separated like `PATH`",
    "frozenset[str]": "list, separated by commas",
}


def make_page() -> str:
    """The page as Markdown: a section for each part that has settings of its own."""
    parts = [part for part in reversed(Settings.__mro__) if get_annotations(part)]
    return "\n".join([_INTRODUCTION, *map(_make_section, parts)])


def _make_section(part: type[Any]) -> str:
    rows = [
        f"| `{name}` | {_describe_type(field)} | {_describe_default(field)} | {field.metadata['rule'].meaning} |"
        for name, field in Settings.variables().items()
        if field.name in get_annotations(part)
    ]
    heading = part.__name__.removesuffix("Settings")
    table = ["| variable | value | default | meaning |", "|---|---|---|---|", *rows]
    return "\n".join([f"## {heading}", "", part.__doc__ or "", "", *table, ""])


def _describe_type(field: dataclasses.Field[Any]) -> str:
    rule: Rule = field.metadata["rule"]
    if rule.choices:
        return ", ".join(f"`{choice}`" for choice in rule.choices)
    words = _TYPES[kind_of(field)] + (f" of {rule.unit}" if rule.unit else "")
    return f"{words}, {rule.requirement.removeprefix('a finite number ')}" if rule.requirement else words


def _describe_default(field: dataclasses.Field[Any]) -> str:
    default, unset = field.default, field.metadata["rule"].unset
    if unset:
        return str(unset)
    return f"{default:,}".replace(",", " ") if isinstance(default, int) else f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
