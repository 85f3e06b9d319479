"""`index`, `retry`, `ingestions`, `wait` and `search`."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from siglip_ingest.cli.composing import compose_query, describe_query, part_options
from siglip_ingest.cli.output import (
    json_option,
    local_path,
    parse_json_object,
    print_json,
    print_matches,
    print_table,
    search_options,
)
from siglip_ingest.client import SiglipClient
from siglip_ingest.composing import QueryTerm
from siglip_ingest.ingest import Ingestion
from siglip_ingest.manifests import expand_pattern, read_list, read_manifest
from siglip_ingest.settings import Settings
from siglip_ingest.sources import hide_secrets
from siglip_ingest.sources.uris import format_uri
from siglip_ingest.types import DEFAULT_COLLECTION, ImageFailure, IngestCounts

_SHOWN_FAILURES = 20


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option(
    "--manifest",
    "manifests",
    multiple=True,
    metavar="FILE",
    help="Images that a CSV, JSONL or Parquet file lists, with keys and metadata; may be repeated.",
)
@click.option("--uri-column", help="The manifest's column of paths or URLs; by default uri, url, path, file or image.")
@click.option("--key-column", help="The manifest's column of your own keys; by default key.")
@click.option("--collection", default=DEFAULT_COLLECTION, show_default=True, help="Collection that the images join.")
@click.option(
    "--metadata", callback=parse_json_object, help='JSON object kept with each image, such as \'{"album": "2026"}\'.'
)
@click.option("--all-files", is_flag=True, help="Find images by their content where their names say nothing.")
@click.option("--exif", is_flag=True, help="Add capture time, camera and place from EXIF to the metadata.")
@click.option("--no-wait", is_flag=True, help="Return once the images are queued; running workers embed them.")
@json_option
def index(
    paths: tuple[str, ...],
    manifests: tuple[str, ...],
    uri_column: str | None,
    key_column: str | None,
    collection: str,
    metadata: dict[str, Any] | None,
    all_files: bool,
    exif: bool,
    no_wait: bool,
    as_json: bool,
) -> int:
    """Index images: files, folders, patterns such as 'photos/**/*.jpg' and URLs; - reads a list from standard input.

    Folders are searched with their subfolders. A .tar is read as a WebDataset shard, and not unpacked. URLs begin with
    http://, https://, s3://, gs:// or az://; s3://bucket/photos/ stands for all images below. Images that are already
    indexed and haven't changed are left as they are. Exit status 1 if an image failed.
    """
    if not (paths or manifests):
        raise click.UsageError("Give a PATH, or --manifest FILE.")
    sources = itertools.chain(
        itertools.chain.from_iterable(map(_find_sources, paths)),
        *(read_manifest(local_path(name), uri_column=uri_column, key_column=key_column) for name in manifests),
    )
    with SiglipClient.from_environment(os.environ) as client:
        ingestion = client.enqueue_images(
            sources, collection=collection, metadata=metadata, all_files=all_files, exif=exif
        )
        counts = ingestion.counts() if no_wait else wait_for(ingestion)
        failures = ingestion.failures() if counts.failed else []
        if no_wait and not as_json:
            click.echo(f"Ingestion {ingestion.ingestion_id}; `siglip-ingest wait {ingestion.ingestion_id}` follows it.")
        if not counts.is_finished and client.settings.is_embedded and not _is_kept(client.settings):
            click.echo("The worker stops with this command; `siglip-ingest up` starts one that goes on.", err=True)
    return report(counts, failures, as_json=as_json, more={"ingestion_id": ingestion.ingestion_id})


def _find_sources(text: str) -> Iterable[str | Path]:
    """What a PATH stands for."""
    if text == "-":
        return read_list(sys.stdin)
    return [text] if "://" in text else expand_pattern(str(local_path(text)))


def _is_kept(settings: Settings) -> bool:
    """Whether the embedded services stay up when this program ends."""
    from siglip_ingest.services import services_status

    return bool(services_status(settings).get("is_kept"))


@click.command()
@click.option("--collection", help="Only the images of this collection.")
@json_option
def retry(collection: str | None, as_json: bool) -> int:
    """Try the images that failed once more."""
    with SiglipClient.from_environment(os.environ) as client:
        ingestion = client.retry_failed(collection=collection)
        counts = wait_for(ingestion)
        return report(counts, ingestion.failures() if counts.failed else [], as_json=as_json)


@click.command()
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=1), help="How many, from the newest.")
@json_option
def ingestions(limit: int, as_json: bool) -> None:
    """List what was queued lately, and how far each batch is."""
    with SiglipClient.from_environment(os.environ) as client:
        listed = client.list_ingestions(limit)
    if as_json:
        print_json([{**row._asdict(), **_as_dict(counts)} for row, counts in listed])
        return
    if not listed:
        click.echo("Nothing was queued in the last 30 days.")
        return
    rows = [
        (
            row.ingestion_id,
            f"{row.created_at.astimezone():%Y-%m-%d %H:%M}",
            "all" if row.collection is None else row.collection,
            f"{counts.total:,}" + ("" if row.is_complete else " and more"),
            f"{counts.done:,}",
            f"{counts.failed:,}",
            f"{counts.queued + counts.claimed:,}",
            row.model,
        )
        for row, counts in listed
    ]
    print_table(("id", "queued at", "collection", "images", "done", "failed", "waiting", "model"), rows)


@click.command()
@click.argument("ingestion_id", type=int, metavar="ID")
@click.option("--timeout", "timeout_s", type=click.FloatRange(min=0), help="Seconds to wait at most.")
@json_option
def wait(ingestion_id: int, timeout_s: float | None, as_json: bool) -> int:
    """Wait for images that another process has queued; `ingestions` lists the ids."""
    with SiglipClient.from_environment(os.environ) as client:
        ingestion = client.follow_ingestion(ingestion_id)
        counts = wait_for(ingestion, timeout_s)
        return report(counts, ingestion.failures() if counts.failed else [], as_json=as_json)


def wait_for(ingestion: Ingestion, timeout_s: float | None = None) -> IngestCounts:
    """Wait for all images; says what becomes of them if somebody interrupts."""
    try:
        return ingestion.wait(timeout_s)
    except KeyboardInterrupt:
        click.echo(
            f"What is queued is kept, and running workers go on: `siglip-ingest wait {ingestion.ingestion_id}` waits "
            "for it.",
            err=True,
        )
        raise


def report(
    counts: IngestCounts,
    failures: Sequence[ImageFailure],
    *,
    as_json: bool,
    more: Mapping[str, Any] | None = None,
) -> int:
    """Print how an ingestion went and why images failed; returns the exit status."""
    if as_json:
        print_json(
            {
                **(more or {}),
                **_as_dict(counts),
                "failures": [
                    {"image_id": f.image_id, "uri": f.uri, "error_code": f.error_code, "error_message": f.error_message}
                    for f in failures
                ],
            }
        )
    else:
        click.echo(f"{counts.done:,} done, {counts.failed:,} failed." if counts.is_finished else f"{counts}.")
        for failure in failures[:_SHOWN_FAILURES]:
            where = format_uri(hide_secrets(failure.uri))
            click.echo(f"  {where}: {failure.error_message} [{failure.error_code}]", err=True)
        if len(failures) > _SHOWN_FAILURES:
            click.echo(f"  ... and {len(failures) - _SHOWN_FAILURES} more; --json lists them all.", err=True)
    return 1 if counts.failed else 0


def _as_dict(counts: IngestCounts) -> dict[str, int]:
    return {"queued": counts.queued, "claimed": counts.claimed, "done": counts.done, "failed": counts.failed}


@click.command()
@click.argument("text", required=False)
@click.option("--image", "image_path", metavar="FILE", help="Search by this image.")
@part_options
@search_options
@click.option("--html", "html_path", metavar="FILE", help="Write the matches with their images to an HTML file too.")
@click.option("--show", "shows_images", is_flag=True, help="Show the images too, in a terminal that can.")
@json_option
def search(
    text: str | None,
    image_path: str | None,
    more: tuple[str, ...],
    unwanted: tuple[str, ...],
    likes: tuple[QueryTerm, ...],
    unlikes: tuple[QueryTerm, ...],
    limit: int,
    collection: str | None,
    metadata_filter: dict[str, Any] | None,
    min_score: float | None,
    html_path: str | None,
    shows_images: bool,
    as_json: bool,
) -> None:
    """Search by text, by an image, by an indexed image, or by several of them at once.

    siglip-ingest search beach --and 'at night' --not people --like 42:0.7
    """
    query = compose_query(text, image_path, more, unwanted, likes, unlikes)
    options: dict[str, Any] = {
        "limit": limit,
        "collection": collection,
        "filter": metadata_filter,
        "min_score": min_score,
    }
    with SiglipClient.from_environment(os.environ) as client:
        if isinstance(query, int):
            matches = client.similar_images(query, **options)
        else:
            matches = client.search_images(query, **options)
        if html_path is not None:
            from siglip_ingest.cli.contact_sheet import Section, write_contact_sheet

            asked = describe_query(query)
            section = Section(asked, f"{len(matches)} matches", matches)
            write_contact_sheet(local_path(html_path), asked, [section], client.database, client.settings)
            click.echo(f"Wrote {html_path}", err=True)
        if shows_images and matches and not as_json:
            matches.show()
            return
    print_matches(matches, as_json=as_json)
