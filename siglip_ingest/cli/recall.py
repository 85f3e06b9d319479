"""`recall measure`, `tune`, `history` and `settings`: how good the answers of the indexes are."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click

from siglip_ingest.cli.output import json_option, parse_json_object, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import recall as measurements

sample_option = click.option(
    "--sample", type=int, default=200, show_default=True, help="Images, and texts, to search for."
)


@click.group()
def recall() -> None:
    """Recall: how many of the images that an exact search finds the index finds, too."""


@recall.command("measure")
@sample_option
@click.option("--limit", type=int, default=10, show_default=True, help="Best images that each search is to find.")
@click.option("--collection", help="Search only this collection.")
@click.option(
    "--filter",
    "metadata_filter",
    callback=parse_json_object,
    help="Search only images whose metadata contain this JSON object.",
)
@json_option
def measure(
    sample: int, limit: int, collection: str | None, metadata_filter: dict[str, Any] | None, as_json: bool
) -> None:
    """Compare searches with exact answers: by stored vectors, and by texts that were asked.

    The interval from `low` to `high` holds the recall of all such queries with 95 % certainty. What was measured is
    kept, and a drop is warned of.
    """
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.index_recall(sample, limit=limit, collection=collection, filter=metadata_filter)
    _print_rows([dataclasses.asdict(row) for row in rows], as_json=as_json)


@recall.command("tune")
@click.option("--target", type=float, default=0.98, show_default=True, help="The recall to reach.")
@sample_option
@json_option
def tune(target: float, sample: int, as_json: bool) -> None:
    """Find the smallest ef_search that reaches a recall, and use it from now on."""
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.tune_search(target, sample=sample)
    if not rows and not as_json:
        click.echo("There is no index yet: searches are exact, and there is nothing to tune.")
        return
    _print_rows([dataclasses.asdict(row) for row in rows], as_json=as_json)


@recall.command("history")
@click.option("--limit", type=int, default=20, show_default=True, help="Most measurements to print.")
@json_option
def history(limit: int, as_json: bool) -> None:
    """Show the last measurements, and how far each lies from those before it."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        rows = measurements.list_measurements(connection, limit)
    if not rows and not as_json:
        click.echo("Nothing was measured yet. `siglip-ingest recall measure` does.")
        return
    _print_rows(rows, as_json=as_json)


@recall.command("settings")
@json_option
def settings(as_json: bool) -> None:
    """Show what is in effect for searches and indexes, and why."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        rows = measurements.list_settings(connection)
    if not rows and not as_json:
        click.echo("No model has been loaded yet. `siglip-ingest index` is what begins with one.")
        return
    _print_rows(rows, as_json=as_json)


def _print_rows(rows: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(rows)
    elif rows:
        print_table(tuple(rows[0]), [tuple(row.values()) for row in rows])
