"""`attach`, `detach` and `attached`: tables of one's own that collections follow."""

from __future__ import annotations

import dataclasses
import os

import click

from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient

_HEADINGS = ("table", "column", "collection", "rows", "waiting", "images", "embedded", "failed", "problem")


@click.command()
@click.argument("table")
@click.option("--uri-column", required=True, help="Column with addresses or contents of images, or arrays of them.")
@click.option("--id-column", "id_columns", multiple=True, help="Column that tells rows apart; may be repeated.")
@click.option("--collection", help="Collection that follows the table; by default called as the table.")
@click.option("--metadata-column", "metadata_columns", multiple=True, help="Column that becomes metadata; repeatable.")
@json_option
def attach(
    table: str,
    uri_column: str,
    id_columns: tuple[str, ...],
    collection: str | None,
    metadata_columns: tuple[str, ...],
    as_json: bool,
) -> None:
    """Have a collection follow a column of TABLE: its rows now, and all that changes in them from then on.

    TABLE is written as in SQL: public.product. Without --id-column its primary key tells the rows apart.
    """
    with SiglipClient.from_environment(os.environ) as client:
        count = client.attach_table(
            table, uri_column, id_column=id_columns or None, collection=collection, metadata_columns=metadata_columns
        )
    if as_json:
        print_json({"table": table, "rows": count})
    else:
        click.echo(f"{count:,} rows with images. Workers follow the table; `siglip-ingest attached` shows how far.")


@click.command()
@click.argument("table")
@click.option("--delete-images", is_flag=True, help="Delete its images, where no other attached row has them.")
@json_option
def detach(table: str, delete_images: bool, as_json: bool) -> None:
    """Stop following TABLE. Its images stay, unless --delete-images is given."""
    with SiglipClient.from_environment(os.environ) as client:
        count = client.detach_table(table, delete_images=delete_images)
    if as_json:
        print_json({"table": table, "images": count})
    else:
        click.echo(f"Detached. {count:,} images will be deleted." if delete_images else "Detached. Its images stay.")


@click.command()
@json_option
def attached(as_json: bool) -> None:
    """List the attached tables, and how far their images are."""
    with SiglipClient.from_environment(os.environ) as client:
        tables = client.attached_tables()
    if as_json:
        print_json([dataclasses.asdict(table) for table in tables])
    elif tables:
        rows = [
            (t.table, t.uri_column, t.collection, t.rows, t.rows_waiting, t.images, t.embedded, t.failed, t.problem)
            for t in tables
        ]
        print_table(_HEADINGS, rows)
    else:
        click.echo("No table is attached: siglip-ingest attach TABLE --uri-column COLUMN")
