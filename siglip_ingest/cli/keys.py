"""`keys create`, `list` and `revoke`: who may use the web API."""

from __future__ import annotations

import dataclasses
import os
from datetime import UTC, datetime

import click

from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.db import keys as table

_HEADINGS = ("name", "scope", "state", "created", "expires", "last used")


@click.group()
def keys() -> None:
    """Keys of the web API, which `serve` asks for where others than this machine reach it."""


@keys.command("create")
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(table.SCOPES),
    default="search",
    show_default=True,
    help="`write` includes search, `admin` includes both.",
)
@click.option("--expires", "days", type=click.IntRange(1, table.MAX_DAYS), metavar="DAYS", help="By default never.")
@json_option
def create(name: str, scope: str, days: int | None, as_json: bool) -> None:
    """Make a key for NAME and print it. It is shown this once: only its hash is kept."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        key, row = table.create_key(connection, name, scope, days=days)
    if as_json:
        print_json({"key": key, **dataclasses.asdict(row)})
        return
    click.echo(key)
    until = "" if row.expires_at is None else f" until {_format(row.expires_at)}"
    click.echo(f"This is the key of {name}, for {scope}{until}. It isn't shown again.", err=True)


@keys.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the keys, without what is secret of them."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        rows = table.list_keys(connection)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    elif rows:
        print_table(_HEADINGS, [_to_cells(row) for row in rows])
    else:
        click.echo("There are no keys: siglip-ingest keys create NAME makes one.")


@keys.command("revoke")
@click.argument("name")
def revoke(name: str) -> None:
    """Take back the key of NAME. Servers stop to take it within seconds."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        table.revoke_key(connection, name)
    click.echo(f"Revoked the key of {name}.")


def _to_cells(row: table.KeyRow) -> tuple[object, ...]:
    is_over = row.expires_at is not None and row.expires_at < datetime.now(UTC)
    state = "revoked" if row.revoked_at else "expired" if is_over else "valid"
    times = (_format(at) for at in (row.created_at, row.expires_at, row.last_used_at))
    return (row.name, row.scope, state, *times)


def _format(at: datetime | None) -> str:
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M")
