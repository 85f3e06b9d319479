"""`vectors import` and `vectors export`."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import click

from siglip_ingest.cli.output import json_option, local_path, print_json
from siglip_ingest.client import SiglipClient
from siglip_ingest.types import DEFAULT_COLLECTION

items_option = click.option(
    "--items", metavar="FILE", help="JSON lines, one a vector, in the same order; not for Parquet with these columns."
)


@click.group()
def vectors() -> None:
    """Vectors that were made elsewhere, by any model: in, and out again."""


@vectors.command("import")
@click.argument("path", metavar="VECTORS")
@items_option
@click.option("--model", required=True, metavar="NAME", help="The model that made the vectors; any name for a new one.")
@click.option("--dimension", type=int, help="What the length of the vectors must be.")
@click.option(
    "--logit-scale", type=float, help="Of a new model: a logarithm, as in a checkpoint. Without it no scores."
)
@click.option("--logit-bias", type=float, help="Of a new model; goes with --logit-scale.")
@click.option("--collection", default=DEFAULT_COLLECTION, show_default=True, help="Of the items that name none.")
@click.option("--normalize", is_flag=True, help="Divide each vector by its norm; else it must be 1.")
@click.option("--replace", is_flag=True, help="Replace the vectors of images that have one.")
@json_option
def import_vectors(path: str, items: str | None, as_json: bool, **options: Any) -> None:
    """Import VECTORS: an N x D .npy file of float16 or float32, or Parquet with a list column `embedding`.

    An item has a uri and may have collection, key, metadata, content_hash (SHA-256), width, height and format. All is
    checked before anything is stored; started again, an interrupted import goes on where it was.
    """
    with SiglipClient.from_environment(os.environ) as client:
        done = client.import_vectors(local_path(path), None if items is None else local_path(items), **options)
    if as_json:
        print_json(dataclasses.asdict(done))
    else:
        click.echo(f"{done}.")


@vectors.command("export")
@click.argument("path", metavar="VECTORS")
@items_option
@click.option("--model", metavar="NAME", help="By default the active model.")
@click.option("--collection", help="Only images of this collection.")
@click.option("--float32", is_flag=True, help="Write float32; else float16, as they are stored.")
@json_option
def export_vectors(path: str, items: str | None, as_json: bool, **options: Any) -> None:
    """Export vectors to VECTORS, a .npy or .parquet file, in the form that `vectors import` reads."""
    with SiglipClient.from_environment(os.environ) as client:
        count = client.export_vectors(local_path(path), None if items is None else local_path(items), **options)
    if as_json:
        print_json({"exported": count})
    else:
        click.echo(f"{count:,} exported.")
