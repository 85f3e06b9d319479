"""`duplicates`, `representatives` and `label find`: what looks at a collection as a whole."""

from __future__ import annotations

import dataclasses
import os
from itertools import islice
from typing import Any

import click

from siglip_ingest.cli.labels import label
from siglip_ingest.cli.output import json_option, parse_json_object, print_json, print_table
from siglip_ingest.client import SiglipClient
from siglip_ingest.sources.uris import format_uri

collection_option = click.option("--collection", help="Only images of this collection.")
filter_option = click.option(
    "--filter",
    "metadata_filter",
    callback=parse_json_object,
    help="Only images whose metadata contain this JSON object.",
)


@click.command()
@click.option("--min-similarity", type=float, default=0.95, show_default=True, help="Least similarity of a pair.")
@collection_option
@filter_option
@click.option("--pairs", "shows_pairs", is_flag=True, help="Print the pairs, as they are found, instead of groups.")
@click.option("--limit", type=click.IntRange(1), help="Most groups, or pairs, to print; by default all.")
@json_option
def duplicates(
    min_similarity: float,
    collection: str | None,
    metadata_filter: dict[str, Any] | None,
    shows_pairs: bool,
    limit: int | None,
    as_json: bool,
) -> None:
    """Find groups of images that are nearly the same. The first of a group is the one with the most pixels."""
    with SiglipClient.from_environment(os.environ) as client:
        if shows_pairs:
            pairs = client.near_duplicates(min_similarity, collection=collection, filter=metadata_filter)
            rows = [dataclasses.asdict(pair) for pair in islice(pairs, limit)]
        else:
            groups = client.duplicate_groups(min_similarity, collection=collection, filter=metadata_filter)
            rows = [dataclasses.asdict(group) for group in groups[:limit]]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("No duplicates.", err=True)
    elif shows_pairs:
        print_table(("image_id", "other_image_id", "similarity", "same file"), [tuple(row.values()) for row in rows])
    else:
        print_table(
            ("images", "similarity", "image_ids"),
            [(len(row["image_ids"]), row["least_similarity"], " ".join(map(str, row["image_ids"]))) for row in rows],
        )


@click.command()
@click.option("--count", type=int, default=20, show_default=True, help="How many images.")
@collection_option
@filter_option
@click.option("--seed", type=int, default=0, show_default=True, help="With the same seed the same images come back.")
@json_option
def representatives(
    count: int, collection: str | None, metadata_filter: dict[str, Any] | None, seed: int, as_json: bool
) -> None:
    """Choose images that stand for all, and say for how many each stands."""
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.representatives(count, collection=collection, filter=metadata_filter, seed=seed)
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
    else:
        print_table(
            ("image_id", "images", "similarity", "image"),
            [(row.image_id, row.images, row.similarity, format_uri(row.uri)) for row in rows],
        )


@label.command("find")
@click.argument("label_set")
@click.option("--all", "all_of", multiple=True, metavar="LABEL", help="A label that the images have; may be repeated.")
@click.option("--any", "any_of", multiple=True, metavar="LABEL", help="One of several of which they have at least one.")
@click.option("--not", "none_of", multiple=True, metavar="LABEL", help="A label that they don't have.")
@click.option("--min-score", type=click.FloatRange(0, 1), help="Of each label; by default its own threshold.")
@collection_option
@filter_option
@click.option("--limit", type=int, default=10, show_default=True, help="Most images to print.")
@json_option
def find(
    label_set: str,
    all_of: tuple[str, ...],
    any_of: tuple[str, ...],
    none_of: tuple[str, ...],
    min_score: float | None,
    collection: str | None,
    metadata_filter: dict[str, Any] | None,
    limit: int,
    as_json: bool,
) -> None:
    """Find images by several labels, for instance: label find scenes --all boat --all sunset --not person."""
    with SiglipClient.from_environment(os.environ) as client:
        rows = client.images_with_labels(
            label_set,
            all_of=all_of,
            any_of=any_of,
            none_of=none_of,
            min_score=min_score,
            limit=limit,
            collection=collection,
            filter=metadata_filter,
        )
    if as_json:
        print_json([dataclasses.asdict(row) for row in rows])
        return
    if not rows:
        click.echo("No images have these labels.", err=True)
        return
    names = list(dict.fromkeys((*all_of, *any_of, *none_of)))
    print_table(
        ("image_id", "score", *names, "image"),
        [(row.image_id, row.score, *(row.scores[name] for name in names), format_uri(row.uri)) for row in rows],
    )
