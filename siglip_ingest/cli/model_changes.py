"""`models add`, `coverage`, `compare`, `switch` and `drop`: a model change, step by step."""

from __future__ import annotations

import dataclasses
import os

import click

from siglip_ingest.cli.output import ask, json_option, print_json, print_table
from siglip_ingest.client import LABELS_TIMEOUT_S, SiglipClient
from siglip_ingest.siglip.checkpoint.names import model_name
from siglip_ingest.types import ModelComparison, ModelCoverage

_COVERAGE = (
    "id",
    "model",
    "state",
    "embedded",
    "queued",
    "failed",
    "not queued",
    "share",
    "per second",
    "remaining",
    "workers",
)


@click.command()
@click.argument("name")
def add(name: str) -> None:
    """Have all images embedded under the model NAME too, and new ones under both.

    Searches go on with the active model. `models coverage` shows how far it is, `models switch NAME` switches.
    """
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": ""}) as client:
        ingestion = client.add_model(name)
        counts = ingestion.counts()
    click.echo(f"{model_name(name)!r} is kept beside the active model: {counts}.")


@click.command()
@click.option("--collections", "by_collection", is_flag=True, help="For each collection by itself.")
@json_option
def coverage(by_collection: bool, as_json: bool) -> None:
    """Show how much of all images each model has, and how fast its workers are."""
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": ""}) as client:
        if by_collection:
            rows = client.collection_coverage()
            if as_json:
                print_json([dataclasses.asdict(row) for row in rows])
            else:
                print_table(
                    ("id", "model", "collection", "embedded", "queued", "failed", "not queued", "share"),
                    [
                        (
                            *(row.model_id, row.model, row.collection, f"{row.embedded:,} of {row.images:,}"),
                            *(row.queued, row.failed, row.not_queued, f"{row.share:.1%}"),
                        )
                        for row in rows
                    ],
                )
            return
        models = client.model_coverage()
    if as_json:
        print_json([dataclasses.asdict(row) for row in models])
    else:
        print_table(_COVERAGE, [_to_cells(row) for row in models])


@click.command()
@click.argument("model_a")
@click.argument("model_b")
@click.option("-k", "k", default=10, show_default=True, help="Results that are looked at.")
@click.option("--queries", default=100, show_default=True, help="At most so many queries, those that were used last.")
@json_option
def compare(model_a: str, model_b: str, k: int, queries: int, as_json: bool) -> None:
    """Compare two models by what people asked, and by the images that they marked with labels."""
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": ""}) as client:
        rows = client.compare_models(model_a, model_b, k=k, max_queries=queries)
    if as_json:
        print_json([row._asdict() for row in rows])
    else:
        print_table(("measure", model_a, model_b, "n", ""), [_to_line(row) for row in rows])


@click.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Switch though some images have no vector under it: they aren't found yet.")
@click.option("--forget-old", is_flag=True, help="Don't embed new images under the old model any more.")
def switch(name: str, force: bool, forget_old: bool) -> None:
    """Make the model NAME (or its id) the one that searches, labels and new images use, in one transaction.

    It must have been added, and its images embedded. The old model is kept: `models switch` goes back at once.
    """
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": ""}) as client:
        client.switch_model(
            name, force=force, keep_old=not forget_old, wait_for_labels_s=0 if force else LABELS_TIMEOUT_S
        )
        active = client.model.name
    click.echo(f"The active model is {active!r}.")


@click.command()
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Leave it to the workers to free the space.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def drop(name: str, no_wait: bool, yes: bool) -> None:
    """Take the model NAME (or its id) away, with its vectors. The active model can't be dropped.

    Searches and workers go on meanwhile. Interrupted, it goes on when it is called again, or by itself where a worker
    runs.
    """
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": ""}) as client:
        ask(f"Drop {name!r} with all of its vectors?", yes=yes)
        client.drop_model(name, wait=not no_wait, on_step=click.echo)
    if no_wait:
        click.echo(f"{name!r} is dropped; the workers free its space.")


def _to_cells(row: ModelCoverage) -> tuple[object, ...]:
    return (
        *(row.model_id, row.model, row.state, f"{row.embedded:,} of {row.images:,}", row.queued, row.failed),
        *(row.not_queued, None if row.share is None else f"{row.share:.1%}"),
        None if row.per_s is None else f"{row.per_s:.1f}",
        None if row.remaining_s is None else _in_words(row.remaining_s),
        row.workers,
    )


def _to_line(row: ModelComparison) -> tuple[object, ...]:
    values = (None if value is None else f"{value:.4g}" for value in (row.value_a, row.value_b))
    return (row.measure, *values, row.n, row.note)


def _in_words(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
