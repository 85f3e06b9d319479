"""`label calibrate`, `example`, `suggest`, `explain`, `calibrations` and `use`."""

from __future__ import annotations

import dataclasses
import os

import click

from siglip_ingest.cli.labels import label
from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.db.calibrating import Calibration
from siglip_ingest.errors import InvalidInputError


def _read_ids(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise InvalidInputError(f"{text!r} isn't a list of image ids. Write for instance --yes 1,5,7.") from None


yes_option = click.option("--yes", default="", metavar="IDS", help="Images that have the label: 1,5,7.")
no_option = click.option("--no", default="", metavar="IDS", help="Images that haven't it.")


@label.command("calibrate")
@click.argument("label_set")
@click.argument("name", metavar="LABEL")
@yes_option
@no_option
@click.option("--min-precision", type=float, help="A wish: 0.95 for 95 in 100 accepted images that have the label.")
@click.option("--confidence", type=float, default=0.9, show_default=True, help="How sure the wish is to be kept.")
@json_option
def calibrate(
    label_set: str,
    name: str,
    yes: str,
    no: str,
    min_precision: float | None,
    confidence: float,
    as_json: bool,
) -> None:
    """Fit a label to images that have it or not: label calibrate scenes sunset --yes 1,5 --no 7."""
    with SiglipClient.from_environment(os.environ) as client:
        fit = client.calibrate(
            label_set, name, _read_ids(yes), _read_ids(no), min_precision=min_precision, confidence=confidence
        )
    _print_fit(fit, as_json=as_json)


@label.command("example")
@click.argument("label_set")
@click.argument("name", metavar="LABEL")
@yes_option
@no_option
@json_option
def example(label_set: str, name: str, yes: str, no: str, as_json: bool) -> None:
    """Make a label out of images, without words: label example pets "our dog" --yes 1,5,7."""
    with SiglipClient.from_environment(os.environ) as client:
        fit = client.label_from_images(label_set, name, _read_ids(yes), _read_ids(no))
    _print_fit(fit, as_json=as_json)


@label.command("suggest")
@click.argument("label_set")
@click.argument("name", metavar="LABEL")
@click.option("--limit", type=int, default=10, show_default=True, help="Most images to name.")
@click.option("--accepted", is_flag=True, help="Only a random sample of those that have the label as things stand.")
@json_option
def suggest(label_set: str, name: str, limit: int, accepted: bool, as_json: bool) -> None:
    """Name images whose marks would teach a label most."""
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.suggest_examples(label_set, name, limit=limit, only_accepted=accepted)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_table(
            ("image", "score", "calibrated", "why", "uri"),
            [(row.image_id, f"{row.score:.3f}", f"{row.calibrated_score:.3f}", row.reason, row.uri) for row in rows],
        )


@label.command("explain")
@click.argument("image_id", type=int)
@click.argument("label_set")
@click.argument("name", metavar="LABEL")
@json_option
def explain(image_id: int, label_set: str, name: str, as_json: bool) -> None:
    """Say why an indexed image has a label or not: label explain 42 scenes sunset."""
    with SiglipClient.from_environment(os.environ) as client:
        why = client.explain_score(image_id, label_set, name)
    if as_json:
        print_json({**dataclasses.asdict(why), "nearest_marked": [mark._asdict() for mark in why.nearest_marked]})
        return
    click.echo(why.explanation)
    percentile = "" if why.percentile is None else f"; above {why.percentile:.1f} % of the other images"
    click.echo(f"similarity {why.similarity:.4f}, logit {why.logit:.2f}, score {why.score:.4f}{percentile}")
    click.echo(f"label {why.label_rank} of {why.label_count} for this image")
    for mark in why.nearest_marked:
        click.echo(
            f"image {mark.image_id}, {mark.similarity:.3f} like it, {'has' if mark.mark else 'has not'} the label"
        )


@label.command("calibrations")
@click.argument("label_set")
@click.argument("name", metavar="LABEL")
@json_option
def calibrations(label_set: str, name: str, as_json: bool) -> None:
    """List the calibrations of a label."""
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.calibrations(label_set, name)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_table(
            ("version", "current", "threshold", "note"),
            [(row.version, "yes" if row.is_current else "", f"{row.threshold:.3f}", row.note) for row in rows],
        )


@label.command("use")
@click.argument("label_set")
@click.argument("name", metavar="LABEL")
@click.argument("version", type=int)
def use(label_set: str, name: str, version: int) -> None:
    """Go back to an earlier calibration of a label; 0 is the model's own scores."""
    with SiglipClient.from_environment(os.environ) as client:
        client.use_calibration(label_set, name, version)
    decision = f"calibration {version}" if version else "the model's own scores"
    click.echo(f"The label {name!r} decides by {decision}.")


def _print_fit(fit: Calibration, *, as_json: bool) -> None:
    if as_json:
        print_json(dataclasses.asdict(fit))
        return
    click.echo(f"Calibration {fit.version}: {fit.note}")
    shares = [
        f"{name} {value:.3f}"
        for name, value in (("precision", fit.precision), ("recall", fit.recall))
        if value is not None
    ]
    if shares:
        click.echo(f"Estimated with each mark left out: {', '.join(shares)}.")
