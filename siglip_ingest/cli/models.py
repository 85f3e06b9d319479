"""`models list`, `models pull` and `models use`."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import click

from siglip_ingest.cli import model_changes
from siglip_ingest.cli.checkpoint_table import HEADINGS, count_bytes, describe_checkpoints, format_bytes, to_cells
from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import LABELS_TIMEOUT_S, SiglipClient
from siglip_ingest.db import Database
from siglip_ingest.db.models import list_models
from siglip_ingest.db.schema import check_schema
from siglip_ingest.errors import SiglipError
from siglip_ingest.ingest import Ingestion
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.download import pull as pull_checkpoint, resolve_checkpoint
from siglip_ingest.siglip.checkpoint.names import DEMO_NAME, is_checkpoint, model_name, parse_name

_CATCH_UPS = 5  # where images come without end, the switch doesn't wait for ever


@click.group()
def models() -> None:
    """Checkpoints: the published ones, those on this disk, and those that the database has vectors of."""


for _command in (
    model_changes.add,
    model_changes.coverage,
    model_changes.compare,
    model_changes.switch,
    model_changes.drop,
):
    models.add_command(_command)


@models.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the published checkpoints with their sizes, which of them are here, and the database's models.

    It needs neither a network nor a database: the latter's models are listed where one is set up or running.
    """
    rows = describe_checkpoints()
    database = _list_database()
    if as_json:
        print_json({"checkpoints": rows, "database": database})
        return
    print_table(HEADINGS, to_cells(rows))
    click.echo()
    click.echo("float32, bfloat16: memory of the weights. GFLOP: to embed one image (NaFlex: of 256 patches).")
    if database:
        click.echo("\nIn the database:")
        print_table(tuple(database[0]), [tuple(row.values()) for row in database], indent="  ")
    elif database is not None:
        click.echo("No model yet: the first `siglip-ingest index` registers the one that SIGLIP_MODEL names.", err=True)


@models.command("pull")
@click.argument("name")
@click.option("--revision", help="A branch, a tag or a commit; by default the newest.")
@json_option
def pull(name: str, revision: str | None, as_json: bool) -> None:
    """Download the checkpoint NAME from the hub and pin NAME to that revision.

    Files that are here already aren't downloaded again. NAME then means this revision until the next `pull`.
    NAME@REVISION names a revision wherever a checkpoint is named.
    """
    wanted = model_name(name)
    is_local = wanted == DEMO_NAME or Path(wanted).is_absolute()
    folder = resolve_checkpoint(wanted) if is_local else pull_checkpoint(parse_name(wanted), revision=revision)
    commit, size_bytes = None if is_local else folder.name, count_bytes(folder)
    if as_json:
        print_json({"name": wanted, "revision": commit, "folder": str(folder), "size_bytes": size_bytes})
    elif is_local:
        click.echo(f"{wanted} is on this disk: there is nothing to download.", err=True)
    else:
        click.echo(f"{wanted} is pinned to {commit}: {format_bytes(size_bytes)}.")
        click.echo(folder)


@models.command("use")
@click.argument("name")
@click.option("--now", is_flag=True, help="Switch before all images are embedded; searches find only those that are.")
def use(name: str, now: bool) -> None:
    """Change to the model NAME: embed every image under it, then switch. Searches go on with the old one until then.

    To an external model, whose vectors were imported, it switches at once.
    """
    if not is_checkpoint(name) and _use_external(name):
        click.echo(f"The active model is {name!r}.")
        return
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": model_name(name)}) as client:
        ingestion = client.embed_under_model()
        try:
            if not now:
                if not client.settings.is_embedded:
                    click.echo(
                        f"A worker of it does the work: `siglip-ingest worker`, or one with SIGLIP_MODEL={name}.",
                        err=True,
                    )
                _wait(ingestion, name)
                _catch_up(client, ingestion.model_id)
            client.switch_model(
                ingestion.model_id, force=True, keep_old=False, wait_for_labels_s=0 if now else LABELS_TIMEOUT_S
            )
        except SiglipError:
            client.give_up_model(ingestion.model_id)
            raise
        if not now:
            client.follow_model(ingestion.model_id).wait()  # what came in the last moment
    click.echo(f"The active model is {name!r}.")


def _use_external(name: str) -> bool:
    """Switch to the external model of that name; False where there is none."""
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": ""}) as client:
        model_id = client.find_external_model(name)
        if model_id is not None:
            client.switch_model(model_id, keep_old=False)
    return model_id is not None


def _wait(ingestion: Ingestion, name: str) -> None:
    counts = ingestion.wait()
    if counts.failed and not counts.done:
        raise SiglipError(f"No image could be embedded under {name!r}; the active model stays as it was.")


def _catch_up(client: SiglipClient, model_id: int) -> None:
    """Embed what was indexed meanwhile, so that the switch leaves out as little as can be."""
    for _ in range(_CATCH_UPS):
        ingestion = client.follow_model(model_id)
        if ingestion.counts().is_finished:
            return
        ingestion.wait()


def _list_database() -> list[dict[str, Any]] | None:
    """The models in the database; None, with a line on stderr, where there is none to ask. Starts no services."""
    settings = Settings.from_environment(os.environ)
    url = settings.database_url
    if url is None and settings.home is not None and importlib.util.find_spec("psutil") is not None:
        from siglip_ingest.services import services_status

        url = services_status(settings).get("database_url")
    if url is None:
        click.echo("No database is running; after `siglip-ingest up` its models are listed too.", err=True)
        return None
    try:
        with Database(url) as database:
            check_schema(database)
            with database.connection() as connection:
                rows = list_models(connection)
    except SiglipError as error:
        click.echo(f"The database's models can't be listed: {error}", err=True)
        return None
    return [
        {
            "name": row.name,
            "active": row.is_active,
            "external": row.is_external,
            "dimension": row.info.dimension if row.info else None,
            "embedded": count,
            "arithmetics": ", ".join(row.arithmetics),
            "revision": row.revision,
        }
        for row, count in rows
    ]
