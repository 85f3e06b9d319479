"""`maintain`: build and merge the indexes of the vectors, and show their state."""

from __future__ import annotations

import dataclasses
import os

import click

from siglip_ingest.cli.checkpoint_table import format_bytes
from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import Database, model_changes, segments

_HEADINGS = ("segment", "contents", "rows", "vectors", "index", "state")


@click.command()
@click.option("--full", "is_full", is_flag=True, help="Merge until each model has a single segment.")
@click.option(
    "--kind",
    type=click.Choice(["halfvec", "bit_rerank"]),
    help="Choose the kind of the active model's indexes first: bit_rerank is for tables that don't fit memory.",
)
@click.option("--status", "only_status", is_flag=True, help="Only show the segments.")
@json_option
def maintain(is_full: bool, kind: str | None, only_status: bool, as_json: bool) -> None:
    """Build and merge the indexes of the vectors, as a worker does beside its work; then show them.

    New vectors are searched at once, one by one; from some ten thousand on they get an index. Searches and workers go
    on meanwhile. Interrupted or killed at any point, it leaves the database as it was before the step.
    """
    if kind is not None and only_status:
        raise click.UsageError("--status only shows the segments: give --kind without it.")
    with SiglipClient.from_environment(os.environ) as client:
        database = client.database
        if kind is not None:
            chosen = client.create_index(kind)
            if not as_json:
                click.echo(chosen)
        steps = [] if only_status else _run_steps(database, is_full, quiet=as_json)
        with database.connection() as connection:
            is_busy = segments.is_busy(connection)
            rows = segments.list_segments(connection)
    if as_json:
        print_json({"steps": steps, "segments": [dataclasses.asdict(row) for row in rows]})
        return
    if is_busy and not only_status:
        click.echo("Another session, perhaps a worker's, maintains the segments just now: --status shows progress.")
    elif not steps and not only_status:
        click.echo("There is nothing to do.")
    print_table(_HEADINGS, [_to_cells(row) for row in rows])


def _run_steps(database: Database, is_full: bool, *, quiet: bool) -> list[str]:
    steps: list[str] = []
    while True:
        with database.connection() as connection:
            step = segments.maintain(connection, is_full=is_full)
        step = step or database.transact(model_changes.free_dropped)
        if step is None:
            return steps
        steps.append(step)
        if not quiet:
            click.echo(step)


def _to_cells(row: segments.SegmentStatus) -> tuple[object, ...]:
    name = row.segment.removeprefix("siglip.")
    state = row.state if row.progress_percent is None else f"{row.state}, {row.progress_percent:.0f} %"
    contents = f"{row.from_content_id or 1}-" + ("" if row.to_content_id is None else str(row.to_content_id - 1))
    sizes = (None if size is None else format_bytes(size) for size in (row.table_bytes, row.index_bytes))
    return (name, contents, row.rows, *sizes, state)
