"""How commands print: tables for people, JSON for programs, one sentence for errors."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.process import expand_user
from siglip_ingest.sources.uris import format_uri
from siglip_ingest.types import ImageMatch, LabelScore

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def ask(question: str, *, yes: bool, other: str = "") -> None:
    """Ask a person to confirm; a program must have said --yes before. `other` names a way beside that one."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here: --yes says so{other}.")
    click.confirm(question, abort=True, err=True)


class _WarningHandler(logging.Handler):
    """Writes what the library warns of to standard error, one sentence a line, as errors are written."""

    def emit(self, record: logging.LogRecord) -> None:  # logging's
        click.echo(f"{record.levelname.capitalize()}: {record.getMessage()}", err=True)


@contextmanager
def show_warnings() -> Iterator[None]:
    """Show people what the library warns of meanwhile: that a text is too long for the model, for instance."""
    logger, handler = logging.getLogger("siglip_ingest"), _WarningHandler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextmanager
def hide_warnings(logger_name: str) -> Iterator[None]:
    """Keep a logger's warnings to itself for a while: where a report says the same better."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, indent: str = "") -> None:
    """Print rows in columns; numbers stand to the right."""
    # Not rich: it wraps at 80 columns where the output is a pipe, so that a path is no longer one word.
    cells = [[_format(value) for value in row] for row in rows]
    widths = [max(len(text) for text in column) for column in zip(headings, *cells, strict=True)]
    is_number = [bool(rows) and all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(headings))]
    for line in (list(headings), *cells):
        padded = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, is_number, strict=True)
        )
        click.echo(indent + "  ".join(padded).rstrip())


def _format(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isnan(value):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def print_matches(matches: Sequence[ImageMatch], *, as_json: bool) -> None:
    """Print search results."""
    if as_json:
        print_json(
            [
                {
                    "image_id": match.image_id,
                    "uri": match.uri,
                    "similarity": match.similarity,
                    "score": None if math.isnan(match.score) else match.score,
                    "metadata": match.metadata,
                }
                for match in matches
            ]
        )
    elif matches:
        print_table(
            ("image_id", "score", "similarity", "image"),
            [(match.image_id, match.score, match.similarity, format_uri(match.uri)) for match in matches],
        )
    else:
        click.echo("No matches. `siglip-ingest status` says how many images are indexed.", err=True)


def print_label_scores(scores: Sequence[LabelScore], *, as_json: bool) -> None:
    """Print labels and their scores."""
    if as_json:
        print_json([{"label": label, "score": score} for label, score in scores])
    else:
        print_table(("score", "label"), [(float(score), label) for label, score in scores])


def parse_json_object(context: click.Context, parameter: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Read an option's value as a JSON object (a callback for click)."""
    if value is None:
        return None
    try:
        parsed = json.loads(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not JSON: {error}", context, parameter) from error
    if not isinstance(parsed, dict):
        raise click.BadParameter(f'{value!r} is not a JSON object such as \'{{"album": "2026"}}\'', context, parameter)
    return parsed


def search_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that narrow a search."""
    for option in (
        click.option("--min-score", type=click.FloatRange(0, 1), help="Only matches of at least this score."),
        click.option(
            "--filter",
            "metadata_filter",
            callback=parse_json_object,
            help="Only images whose metadata contain this JSON object.",
        ),
        click.option("--collection", help="Only images of this collection."),
        click.option("--limit", type=int, default=10, show_default=True, help="Most matches to print."),
    ):
        command = option(command)
    return command


def local_path(text: str) -> Path:
    """A path as typed in a terminal, with `~` expanded.

    Raises:
        InvalidInputError: If it is empty, as an unset variable in a shell is.
    """
    if not text.strip():
        raise InvalidInputError("An empty path was given. Name a file or a folder.")
    return expand_user(text)
