"""`label add`, `change`, `remove`, `rename`, `template`, `keep`, `mark` and `status`."""

from __future__ import annotations

import dataclasses
import os

import click

from siglip_ingest.cli.output import json_option, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import LabelStatus

prompt_option = click.option(
    "--prompt", "prompts", multiple=True, metavar="TEXT", help="A text that stands for it; several are averaged."
)
threshold_option = click.option(
    "--threshold", type=click.FloatRange(0, 1), help="Score from which images have it; by default 0.5."
)


@click.command()
@click.argument("label_set")
@click.argument("label")
@prompt_option
@threshold_option
def add(label_set: str, label: str, prompts: tuple[str, ...], threshold: float | None) -> None:
    """Add a label to a label set, for instance: label add scenes beach --prompt "a beach" --prompt "the sea"."""
    with SiglipClient.from_environment(os.environ) as client:
        client.add_label(label_set, label, prompts, threshold=threshold)
    click.echo(f"Added the label {label!r} to {label_set!r}.")


@click.command()
@click.argument("label_set")
@click.argument("label")
@click.option("--name", "new_label", help="Its new name.")
@prompt_option
@click.option("--no-prompts", is_flag=True, help="Have the template make its prompt again.")
@threshold_option
@click.option("--place", type=click.IntRange(0), help="Its new place in the set, from 0.")
def change(
    label_set: str,
    label: str,
    new_label: str | None,
    prompts: tuple[str, ...],
    no_prompts: bool,
    threshold: float | None,
    place: int | None,
) -> None:
    """Change a label's name, prompts, threshold or place; what isn't given stays, its marks too."""
    if prompts and no_prompts:
        raise InvalidInputError("Give either --prompt or --no-prompts, not both.")
    if not (prompts or no_prompts) and new_label is None and threshold is None and place is None:
        raise InvalidInputError("There is nothing to change: give --name, --prompt, --threshold or --place.")
    with SiglipClient.from_environment(os.environ) as client:
        if threshold is not None:
            client.set_threshold(label_set, label, threshold)
        if prompts or no_prompts or new_label is not None or place is not None:
            own = prompts if prompts or no_prompts else None
            client.change_label(label_set, label, new_label=new_label, prompts=own, place=place)
    click.echo(f"Changed the label {label!r} of {label_set!r}.")


@click.command()
@click.argument("label_set")
@click.argument("label")
def remove(label_set: str, label: str) -> None:
    """Take a label out of a label set, with its marks and calibrations."""
    with SiglipClient.from_environment(os.environ) as client:
        client.remove_label(label_set, label)
    click.echo(f"Removed the label {label!r} from {label_set!r}.")


@click.command()
@click.argument("label_set")
@click.argument("new_name")
def rename(label_set: str, new_name: str) -> None:
    """Give a label set another name."""
    with SiglipClient.from_environment(os.environ) as client:
        client.rename_label_set(label_set, new_name)
    click.echo(f"The label set {label_set!r} is now {new_name!r}.")


@click.command()
@click.argument("label_set")
@click.argument("template")
def template(label_set: str, template: str) -> None:
    """Change what makes the prompts of labels that have none of their own; it contains {label}."""
    with SiglipClient.from_environment(os.environ) as client:
        count = client.set_template(label_set, template)
    click.echo(f"{count} {'label has a new prompt' if count == 1 else 'labels have new prompts'}.")


@click.command()
@click.argument("label_set")
@click.option("--off", is_flag=True, help="Keep them no longer.")
def keep(label_set: str, off: bool) -> None:
    """Keep a row in siglip.image_labels for each image that has a label of this set. Workers write them."""
    with SiglipClient.from_environment(os.environ) as client:
        client.keep_labels(label_set, not off)
    click.echo(f"The labels of {label_set!r} are {'no longer kept' if off else 'kept'}.")


@click.command()
@click.argument("label_set")
@click.argument("label")
@click.option("--yes", "positives", multiple=True, type=int, metavar="ID", help="An image that has it.")
@click.option("--no", "negatives", multiple=True, type=int, metavar="ID", help="An image that hasn't.")
@click.option("--unmark", multiple=True, type=int, metavar="ID", help="An image of which the model decides again.")
@click.option("--by", "marked_by", help="Who says so; by default the database role.")
def mark(
    label_set: str,
    label: str,
    positives: tuple[int, ...],
    negatives: tuple[int, ...],
    unmark: tuple[int, ...],
    marked_by: str | None,
) -> None:
    """Say which images have a label and which don't, for instance: label mark scenes sunset --yes 1 --yes 5 --no 7."""
    if not (positives or negatives or unmark):
        raise InvalidInputError("Name the images: --yes ID, --no ID or --unmark ID, each as often as needed.")
    with SiglipClient.from_environment(os.environ) as client:
        count = client.mark_images(
            label_set, label, positives=positives, negatives=negatives, unmark=unmark, marked_by=marked_by
        )
    click.echo(f"{count} {'mark' if count == 1 else 'marks'} changed.")


@click.command()
@click.argument("label_set", required=False)
@json_option
def status(label_set: str | None, as_json: bool) -> None:
    """Show each label's prompts and threshold, which models have its vector, and how far its kept rows are."""
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.label_status(label_set)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_table(
            ("label set", "label", "prompts", "threshold", "vectors", "kept"),
            [(row.label_set, row.label, _prompts(row), row.threshold, _vectors(row), _kept(row)) for row in rows],
        )


COMMANDS = (add, change, remove, rename, template, keep, mark, status)


def _prompts(row: LabelStatus) -> str:
    return "(marked images)" if row.is_by_example else " | ".join(row.prompts)


def _vectors(row: LabelStatus) -> str:
    waiting = [f"{name}: not yet" for name in row.missing]
    return "; ".join([*row.embedded, *waiting, *(f"{name}: {refusal}" for name, refusal in row.refusals.items())])


def _kept(row: LabelStatus) -> str:
    if not row.is_kept or row.state is None:
        return "yes" if row.is_kept else "no"
    return f"{row.state}, {row.share or 0:.0%}" if row.state == "in progress" else row.state
