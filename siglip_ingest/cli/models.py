"""`models list` and `models use`."""

from __future__ import annotations

import os

import click

from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.db.models import list_models
from siglip_ingest.errors import SiglipError
from siglip_ingest.hub import model_name


@click.group()
def models() -> None:
    """Checkpoints that the database has, or can have, vectors of."""


@models.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the models in the database, with how many different pictures are embedded under each."""
    with SiglipClient.from_environment(os.environ) as client, client.database.connection() as connection:
        rows = list_models(connection)
    fields = [
        {
            "name": row.name,
            "active": row.is_active,
            "dimension": row.info.dimension if row.info else None,
            "embedded": count,
            "revision": row.revision,
        }
        for row, count in rows
    ]
    if as_json:
        print_json(fields)
    elif fields:
        print_table(tuple(fields[0]), [tuple(field.values()) for field in fields])
    else:
        click.echo("No model yet: the first `siglip-ingest index` registers the one that SIGLIP_MODEL names.", err=True)


@models.command("use")
@click.argument("name")
@click.option("--now", is_flag=True, help="Switch before all images are embedded; searches find only those that are.")
def use(name: str, now: bool) -> None:
    """Change to the model NAME: embed every image under it, then switch. Searches go on with the old one until then."""
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": model_name(name)}) as client:
        ingestion = client.embed_under_model()
        if not now:
            if not client.settings.is_embedded:
                click.echo(f"A worker started with SIGLIP_MODEL={name} does the work.", err=True)
            counts = ingestion.wait()
            if counts.failed and not counts.done:
                raise SiglipError(f"No image could be embedded under {name!r}; the active model stays as it was.")
        client.switch_model(ingestion.model_id)
    click.echo(f"The active model is {name!r}.")
