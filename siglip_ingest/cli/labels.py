"""`label create`, `list`, `delete` and `scores`, and `classify`; more of `label` in label_changes.py."""

from __future__ import annotations

import os

import click

from siglip_ingest.active_model import DEFAULT_MODEL
from siglip_ingest.cli.output import ask, json_option, local_path, print_json, print_label_scores, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.labeling import count_marks, delete_label_set, list_label_sets
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE

template_option = click.option(
    "--template", default=DEFAULT_TEMPLATE, show_default=True, help="Makes the prompt of a label; contains {label}."
)


@click.group()
def label() -> None:
    """Label sets: lists of labels that every image has scores for."""


@label.command("create")
@click.argument("name")
@click.argument("labels", nargs=-1, required=True, metavar="LABEL...")
@template_option
@click.option("--keep", is_flag=True, default=None, help="Keep a row for each image that has one of the labels.")
@click.option("--replace", is_flag=True, help="Replace the label set of that name; labels that stay keep their marks.")
def create(name: str, labels: tuple[str, ...], template: str, keep: bool | None, replace: bool) -> None:
    """Create a label set, for instance: label create scenes sunset "night sky" forest."""
    with SiglipClient.from_environment(os.environ) as client:
        client.create_label_set(name, labels, template=template, keep=keep, replace=replace)
    click.echo(f"Created the label set {name!r} with {len(labels)} {'label' if len(labels) == 1 else 'labels'}.")


@label.command("list")
@json_option
def list_sets(as_json: bool) -> None:
    """List the label sets."""
    with SiglipClient.from_environment(os.environ) as client:
        label_sets = list_label_sets(client.database)
    if as_json:
        print_json([{"name": row.name, "template": row.template, "labels": row.labels} for row in label_sets])
    else:
        print_table(("label set", "labels"), [(row.name, ", ".join(row.labels)) for row in label_sets])


@label.command("delete")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a label set; asks where people have marked images with its labels."""
    with SiglipClient.from_environment(os.environ) as client:
        if marks := count_marks(client.database, name):
            ask(f"Delete {name!r} with {marks:,} mark{'' if marks == 1 else 's'}?", yes=yes)
        delete_label_set(client.database, name)
    click.echo(f"Deleted the label set {name!r}.")


@label.command("scores")
@click.argument("label_set")
@click.argument("image")
@json_option
def scores(label_set: str, image: str, as_json: bool) -> None:
    """Score an IMAGE, a file or the id of an indexed image, against a label set."""
    path = local_path(image)
    is_id = image.isascii() and image.isdigit() and not path.exists()
    with SiglipClient.from_environment(os.environ) as client:
        print_label_scores(client.label_scores(int(image) if is_id else path, label_set), as_json=as_json)


@click.command()
@click.argument("image")
@click.option("--labels", required=True, help="The labels, separated by commas.")
@template_option
@json_option
def classify(image: str, labels: str, template: str, as_json: bool) -> None:
    """Score an IMAGE file against labels, without a database.

    The scores are independent: each is the model's probability that its label is true, and they don't sum to 1.
    """
    from siglip_ingest.embedders.local import load_embedder
    from siglip_ingest.siglip.checkpoint.names import model_name
    from siglip_ingest.siglip.preprocess.opening import open_image
    from siglip_ingest.siglip.zero_shot import classify as classify_image

    names = [name.strip() for name in labels.split(",") if name.strip()]
    if not names:
        raise InvalidInputError(f"There are no labels in {labels!r}. Separate them by commas: --labels 'a cat,a dog'.")
    settings = Settings.from_environment(os.environ)
    opened = open_image(local_path(image), settings.image_limits)  # before a model is loaded, or even fetched
    embedder = load_embedder(model_name(settings.model or DEFAULT_MODEL), settings)
    scores = classify_image(opened, names, embedder=embedder, template=template)
    print_label_scores(scores, as_json=as_json)
