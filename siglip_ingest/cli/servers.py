"""`servers list`, `add`, `remove` and `move`: segments on other PostgreSQL servers."""

from __future__ import annotations

import dataclasses
import os
import sys

import click

from siglip_ingest.cli.checkpoint_table import format_bytes
from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import servers as table

_HEADINGS = ("server", "address", "segments", "rows", "size", "state")
HERE = "here"


@click.group()
def servers() -> None:
    """Other PostgreSQL servers that hold a part of the vectors; `maintain --status` lists the segments."""


@servers.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the other servers, and whether they answer."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        rows = table.list_servers(connection)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    elif rows:
        print_table(_HEADINGS, [_to_cells(row) for row in rows])
    else:
        click.echo("All segments are on the database's own server.")


@servers.command("add")
@click.argument("name")
@click.argument("url")
def add(name: str, url: str) -> None:
    """Prepare the PostgreSQL server at URL for segments, under a NAME; for a NAME that is there, change its address.

    A URL of `-` is read from standard input, so that its password isn't seen in the list of processes.
    """
    address = sys.stdin.readline().strip() if url == "-" else url
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        table.add_server(connection, name, address)
    click.echo(f"The server {name} can take segments: siglip-ingest servers move SEGMENT {name}")


@servers.command("remove")
@click.argument("name")
def remove(name: str) -> None:
    """Forget the server NAME, which must hold no segments."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        table.remove_server(connection, name)
    click.echo(f"Removed the server {name}.")


@servers.command("move")
@click.argument("segment")
@click.argument("name")
def move(segment: str, name: str) -> None:
    """Move a closed SEGMENT to the server NAME, or, with `here`, back, while searches and workers go on."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        rows = table.move_segment(connection, segment, None if name == HERE else name)
    click.echo(f"Moved {rows:,} vectors {'here' if name == HERE else f'to {name}'}.")


def _to_cells(row: table.ServerStatus) -> tuple[object, ...]:
    state = {True: "answers", False: "doesn't answer", None: ""}[row.is_reachable]
    size = None if row.bytes is None else format_bytes(row.bytes)
    return (row.name, row.address, row.segments, row.rows, size, state)
