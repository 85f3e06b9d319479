"""The options of `search` that make a query of several parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import click

from siglip_ingest.cli.output import local_path
from siglip_ingest.composing import QueryTerm, image, text
from siglip_ingest.errors import SiglipError

Query: TypeAlias = "str | Path | int | list[QueryTerm | str | Path]"


class WeighedImage(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions of click only
    """An indexed image, perhaps with a weight: `42`, `42:0.7`."""

    name = "ID[:WEIGHT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> QueryTerm:
        """Read what was typed."""
        if isinstance(value, QueryTerm):
            return value
        image_id, colon, weight = value.partition(":")
        try:
            term = image(int(image_id), float(weight) if colon else 1.0)
        except (ValueError, SiglipError) as error:
            self.fail(
                f"{value!r} is not the id of an image, or an id and a weight such as 42:0.7. ({error})", param, ctx
            )
        if term.weight < 0:
            self.fail(f"{value!r} has a weight below 0: --unlike says that an image is not wanted.", param, ctx)
        return term


def part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name further parts of a query."""
    for option in (
        click.option(
            "--unlike",
            "unlikes",
            type=WeighedImage(),
            multiple=True,
            help="Less like this indexed image; may be repeated.",
        ),
        click.option(
            "--like", "likes", type=WeighedImage(), multiple=True, help="Like this indexed image; may be repeated."
        ),
        click.option("--not", "unwanted", multiple=True, metavar="TEXT", help="What they don't show; may be repeated."),
        click.option("--and", "more", multiple=True, metavar="TEXT", help="What they show, too; may be repeated."),
    ):
        command = option(command)
    return command


def compose_query(
    words: str | None,
    image_path: str | None,
    more: Sequence[str],
    unwanted: Sequence[str],
    likes: Sequence[QueryTerm],
    unlikes: Sequence[QueryTerm],
) -> Query:
    """What was asked for: a text, a file, the id of an indexed image, or several parts.

    Raises:
        click.UsageError: If nothing is wanted.
    """
    wanted: list[QueryTerm | str | Path] = [part for part in (words, *more) if part is not None]
    if image_path is not None:
        wanted.append(local_path(image_path))
    wanted.extend(likes)
    if not wanted:
        raise click.UsageError(
            "Give at least one of TEXT, --image FILE and --like ID; --not and --unlike alone find nothing."
        )
    parts = [*wanted, *(-text(part) for part in unwanted), *(-part for part in unlikes)]
    if len(parts) > 1:
        return parts
    alone = parts[0]
    if isinstance(alone, QueryTerm):
        return int(alone.value)
    return alone


def describe_query(query: Query) -> str:
    """What was asked for, for the heading of a page."""
    if not isinstance(query, list):
        return f"like image {query}" if isinstance(query, int) else str(query)
    return ", ".join(_describe_part(part) for part in query)


def _describe_part(part: QueryTerm | str | Path) -> str:
    if not isinstance(part, QueryTerm):
        return str(part)
    named = part.value if part.kind == "text" else f"like image {part.value}"
    return f"not {named}" if part.weight < 0 else named
