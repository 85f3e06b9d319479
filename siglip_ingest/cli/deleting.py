"""`delete`, `prune` and `sync`: images that go, and a collection that follows a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from siglip_ingest.cli.images import report, wait_for
from siglip_ingest.cli.output import ask, json_option, local_path, parse_json_object, print_json
from siglip_ingest.client import SiglipClient
from siglip_ingest.db.images import StoredSource
from siglip_ingest.errors import ConfigurationError, SiglipError
from siglip_ingest.process import how_to_install
from siglip_ingest.sources import hide_secrets
from siglip_ingest.sources.uris import format_uri
from siglip_ingest.syncing import SyncPlan
from siglip_ingest.types import DEFAULT_COLLECTION

_SHOWN = 20
_QUIET_MS = 2000
_LOOK_S = 60.0

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be done.")
yes_option = click.option("--yes", is_flag=True, help="Don't ask.")


@click.command()
@click.option("--id", "image_ids", type=int, multiple=True, metavar="ID", help="An image's id; may be repeated.")
@click.option("--uri", "uris", multiple=True, help="Where an image is: a path or a URL; may be repeated.")
@click.option("--key", "keys", multiple=True, help="A key of your own; may be repeated.")
@click.option("--collection", help="The images of this collection.")
@click.option(
    "--filter",
    "metadata_filter",
    callback=parse_json_object,
    help="Images whose metadata contain this JSON object.",
)
@dry_run_option
@yes_option
@json_option
def delete(
    image_ids: tuple[int, ...],
    uris: tuple[str, ...],
    keys: tuple[str, ...],
    collection: str | None,
    metadata_filter: dict[str, Any] | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Delete the images that all given options fit, with vectors, bytes and scores."""
    if not (image_ids or uris or keys or collection is not None or metadata_filter is not None):
        raise click.UsageError("Say which images: --id, --uri, --key, --collection or --filter.")
    conditions: dict[str, Any] = {
        "image_ids": image_ids or None,
        "uris": [_to_uri(text) for text in uris] or None,
        "keys": keys or None,
        "collection": collection,
        "filter": metadata_filter,
    }
    with SiglipClient.from_environment(os.environ) as client:
        count = client.delete_images(**conditions, dry_run=True)
        if count and not dry_run:
            ask(f"Delete {_count(count)}?", yes=yes, other=", --dry-run only looks")
            count = client.delete_images(**conditions)
    if as_json:
        print_json({"images": count, "dry_run": dry_run})
    else:
        click.echo(f"{_count(count)} would be deleted." if dry_run else f"{_count(count)} deleted.")


@click.command()
@click.option("--collection", help="Only the images of this collection.")
@dry_run_option
@yes_option
@json_option
def prune(collection: str | None, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete the images whose file is gone.

    Where nothing of a folder is there any more, its images stay: a mount may be missing. `delete` deletes them all the
    same. Images of web addresses aren't looked at.
    """
    with SiglipClient.from_environment(os.environ) as client:
        plan = client.prune_images(collection=collection, dry_run=True)
        if plan.gone and not dry_run:
            _show(plan.gone, quiet=as_json)
            ask(f"Delete {_count(len(plan.gone))}?", yes=yes, other=", --dry-run only looks")
            plan = client.prune_images(collection=collection)  # looks again: a mount may have come back meanwhile
    if as_json:
        print_json(
            {
                "checked": plan.checked,
                "gone": [source.uri for source in plan.gone],
                "unreachable": [source.uri for source in plan.unreachable],
                "dry_run": dry_run,
            }
        )
        return
    if dry_run:
        _show(plan.gone)
    click.echo(f"{_count(plan.checked)} looked at, {len(plan.gone):,} {'would be ' if dry_run else ''}deleted.")
    if plan.unreachable:
        click.echo(
            f"{_count(len(plan.unreachable))} can't be found, and nothing else of their folders: a mount may be "
            "missing. They stay:",
            err=True,
        )
        _show(plan.unreachable)


@click.command()
@click.argument("folder")
@click.option("--collection", default=DEFAULT_COLLECTION, show_default=True, help="Collection that follows the folder.")
@click.option("--metadata", callback=parse_json_object, help="JSON object kept with each image that is new or changed.")
@click.option("--allow-empty", is_flag=True, help="Delete the images of folders that are empty now.")
@click.option("--watch", is_flag=True, help="Go on: follow the folder until Ctrl-C.")
@click.option("--no-wait", is_flag=True, help="Return once the images are queued; running workers embed them.")
@dry_run_option
@json_option
def sync(
    folder: str,
    collection: str,
    metadata: dict[str, Any] | None,
    allow_empty: bool,
    watch: bool,
    no_wait: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Make a collection as FOLDER is: new and changed images are indexed, moved ones keep their vectors, gone ones go.

    Images of the collection that come from elsewhere stay. Exit status 1 if an image failed.
    """
    if watch and dry_run:
        raise click.UsageError("--watch follows the folder: give --dry-run without it.")
    path = local_path(folder)
    with SiglipClient.from_environment(os.environ) as client:
        if dry_run:
            plan = client.plan_sync(path, collection=collection, allow_empty=allow_empty)
            _print_plan(plan, as_json=as_json)
            return 0
        status = _sync_once(
            client, path, collection, metadata, allow_empty=allow_empty, no_wait=no_wait, as_json=as_json
        )
        if watch:
            _follow(client, path, collection, metadata, as_json=as_json)
        return status


def _sync_once(
    client: SiglipClient,
    path: Path,
    collection: str,
    metadata: dict[str, Any] | None,
    *,
    no_wait: bool,
    as_json: bool,
    allow_empty: bool = False,
    says_nothing: bool = False,
) -> int:
    """Sync, and print what was done; with `says_nothing`, only where there was something to do."""
    plan, ingestion = client.sync_folder(path, collection=collection, metadata=metadata, allow_empty=allow_empty)
    if says_nothing and plan.is_empty:
        return 0
    if not as_json:
        click.echo(f"{plan}.")
        if plan.others:
            click.echo(f"{_count(len(plan.others))} of the collection come from elsewhere and stay.", err=True)
        _show_unreachable(plan)
    if ingestion is None:
        if as_json:
            print_json(_describe(plan))
        return 0
    counts = ingestion.counts() if no_wait else wait_for(ingestion)
    return report(counts, ingestion.failures() if counts.failed else [], as_json=as_json, more=_describe(plan))


def _follow(
    client: SiglipClient, path: Path, collection: str, metadata: dict[str, Any] | None, *, as_json: bool
) -> None:
    """Sync after each change until Ctrl-C; what fails is said, and tried again after the next one.

    Once it is quiet, the folder is looked at once more: the files of a new folder, or those that came before the watch
    had begun, may come without word. And so it is each minute, for file systems that say nothing.
    """
    try:
        from watchfiles import watch as watch_files
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--watch needs watchfiles, which isn't installed: {how_to_install('watch')}."
        ) from error
    click.echo(f"Following {path}; Ctrl-C ends it.", err=True)
    looked_at, is_settled = time.monotonic(), False
    try:
        for changes in watch_files(path, rust_timeout=_QUIET_MS, yield_on_timeout=True):
            if not changes and is_settled and time.monotonic() - looked_at < _LOOK_S:
                continue
            looked_at, is_settled = time.monotonic(), not changes
            try:
                _sync_once(client, path, collection, metadata, no_wait=True, as_json=as_json, says_nothing=True)
            except SiglipError as error:
                click.echo(f"Warning: {error}", err=True)
    except KeyboardInterrupt:
        click.echo("Stopped. What is queued is kept.", err=True)


def _print_plan(plan: SyncPlan, *, as_json: bool) -> None:
    if as_json:
        print_json(_describe(plan) | {"dry_run": True})
        return
    for word, uris in _describe(plan).items():
        if isinstance(uris, list):
            for uri in uris[:_SHOWN]:
                click.echo(
                    f"  {word}: " + (" -> ".join(map(format_uri, uri)) if isinstance(uri, list) else format_uri(uri))
                )
            if len(uris) > _SHOWN:
                click.echo(f"  {word}: ... and {len(uris) - _SHOWN:,} more; --json lists them all.")
    _show_unreachable(plan)
    click.echo(f"{plan}, if this weren't a dry run.")


def _show_unreachable(plan: SyncPlan) -> None:
    if plan.unreachable:
        click.echo(
            f"{_count(len(plan.unreachable))} of folders that are empty now: mounts may be missing. They stay, unless "
            "--allow-empty is given:",
            err=True,
        )
        _show(plan.unreachable)


def _describe(plan: SyncPlan) -> dict[str, Any]:
    return {
        "new": [path.as_uri() for path in plan.new],
        "changed": [path.as_uri() for path in plan.changed],
        "moved": [[move.source.uri, move.path.as_uri()] for move in plan.moved],
        "deleted": [source.uri for source in plan.gone],
        "unreachable": [source.uri for source in plan.unreachable],
        "unchanged": plan.unchanged,
    }


def _show(sources: Sequence[StoredSource], *, quiet: bool = False) -> None:
    if quiet:
        return
    for source in sources[:_SHOWN]:
        click.echo(f"  {format_uri(hide_secrets(source.uri))}", err=True)
    if len(sources) > _SHOWN:
        click.echo(f"  ... and {len(sources) - _SHOWN:,} more; --json lists them all.", err=True)


def _count(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def _to_uri(text: str) -> str:
    """A URI as it is; a path as the URI of its file."""
    return text if "://" in text or text.startswith("sha256:") else local_path(text).absolute().as_uri()
