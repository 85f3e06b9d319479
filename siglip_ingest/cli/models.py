"""`models list`, `models pull` and `models use`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from siglip_ingest.cli.checkpoint_table import HEADINGS, describe_checkpoints, has_hub_client, to_cells
from siglip_ingest.cli.output import hide_warnings, json_option, print_json, print_table
from siglip_ingest.client import LABELS_TIMEOUT_S, SiglipClient
from siglip_ingest.db import Database
from siglip_ingest.db.models import list_models
from siglip_ingest.db.schema import check_schema
from siglip_ingest.errors import SiglipError
from siglip_ingest.ingest import Ingestion
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.hub import (
    DEMO_NAME,
    Fetched,
    HubName,
    Progress,
    format_bytes,
    model_name,
    parse_name,
    resolve_checkpoint,
)
from siglip_ingest.siglip.checkpoint.hub import pull as pull_checkpoint

_CATCH_UPS = 5  # where images come without end, the switch doesn't wait for ever


@click.group()
def models() -> None:
    """Checkpoints: the published ones, those on this disk, and those that the database has vectors of."""


@models.command("list")
@json_option
def list_all(as_json: bool) -> None:
    """List the published checkpoints with their sizes, which of them are here, and the database's models.

    It needs neither a network nor a database: the latter's models are listed where one is set up or running.
    """
    rows = describe_checkpoints()
    database = _list_database()
    if as_json:
        print_json({"checkpoints": rows, "database": database})
        return
    print_table(HEADINGS, to_cells(rows))
    click.echo()
    click.echo("float32, bfloat16: memory of the weights. GFLOP: to embed one image (NaFlex: of 256 patches).")
    if database:
        click.echo("\nIn the database:")
        print_table(tuple(database[0]), [tuple(row.values()) for row in database], indent="  ")
    elif database is not None:
        click.echo("No model yet: the first `siglip-ingest index` registers the one that SIGLIP_MODEL names.", err=True)


@models.command("pull")
@click.argument("name")
@click.option("--revision", help="A branch, a tag or a commit; by default the newest.")
@json_option
def pull(name: str, revision: str | None, as_json: bool) -> None:
    """Fetch the checkpoint NAME from the hub, check every file, and pin NAME to that revision.

    What is here already isn't fetched again, but checked; an interrupted download goes on where it stopped. NAME then
    means this revision until the next `pull`. NAME@REVISION names a revision wherever a checkpoint is named.
    """
    wanted = model_name(name)
    if wanted == DEMO_NAME or Path(wanted).is_absolute():
        if as_json:
            print_json(
                {"name": wanted, "revision": None, "folder": str(resolve_checkpoint(wanted)), "fetched_bytes": 0}
            )
        else:
            click.echo(f"{wanted} is on this disk: there is nothing to fetch.", err=True)
        return
    fetched = _pull(parse_name(wanted), revision, is_quiet=as_json or not sys.stderr.isatty())
    if as_json:
        print_json(
            {
                "name": wanted,
                "revision": fetched.commit,
                "folder": str(fetched.folder),
                "files": fetched.files,
                "size_bytes": fetched.size_bytes,
                "fetched_bytes": fetched.fetched_bytes,
                "repaired": list(fetched.repaired),
                "unchecked": list(fetched.unchecked),
            }
        )
        return
    for file in fetched.repaired:
        click.echo(f"{file} was damaged in the cache; it has been fetched again.", err=True)
    came = f"{format_bytes(fetched.fetched_bytes)} fetched" if fetched.fetched_bytes else "all here already"
    click.echo(
        f"{wanted} is pinned to {fetched.commit}: {fetched.files} files, {format_bytes(fetched.size_bytes)}, {came}, "
        f"{_describe_check(fetched)}."
    )
    click.echo(fetched.folder)


@models.command("use")
@click.argument("name")
@click.option("--now", is_flag=True, help="Switch before all images are embedded; searches find only those that are.")
def use(name: str, now: bool) -> None:
    """Change to the model NAME: embed every image under it, then switch. Searches go on with the old one until then."""
    with SiglipClient.from_environment({**os.environ, "SIGLIP_MODEL": model_name(name)}) as client:
        ingestion = client.embed_under_model()
        try:
            if not now:
                if not client.settings.is_embedded:
                    click.echo(f"A worker started with SIGLIP_MODEL={name} does the work.", err=True)
                _wait(ingestion, name)
                _catch_up(client, ingestion.model_id)
            client.switch_model(ingestion.model_id, wait_for_labels_s=0 if now else LABELS_TIMEOUT_S)
        except SiglipError:
            client.give_up_model(ingestion.model_id)
            raise
        if not now:
            client.follow_model(ingestion.model_id).wait()  # what came in the last moment
    click.echo(f"The active model is {name!r}.")


def _describe_check(fetched: Fetched) -> str:
    """Say how many files were compared with what was published, and which couldn't be."""
    if not fetched.unchecked:
        return "each checked"
    checked = fetched.files - len(fetched.unchecked)
    return f"{checked or 'none'} checked, for no hash is known of {', '.join(fetched.unchecked)}"


def _wait(ingestion: Ingestion, name: str) -> None:
    counts = ingestion.wait()
    if counts.failed and not counts.done:
        raise SiglipError(f"No image could be embedded under {name!r}; the active model stays as it was.")


def _catch_up(client: SiglipClient, model_id: int) -> None:
    """Embed what was indexed meanwhile, so that the switch leaves out as little as can be."""
    for _ in range(_CATCH_UPS):
        ingestion = client.follow_model(model_id)
        if ingestion.counts().is_finished:
            return
        ingestion.wait()


class _Bar(Progress):
    """A bar on the terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def start(self, total_bytes: int) -> None:
        self._bar = tqdm(total=total_bytes, unit="B", unit_scale=True, dynamic_ncols=True, leave=False, file=sys.stderr)

    def advance(self, count: int) -> None:
        if self._bar is not None:
            self._bar.update(count)

    def describe(self, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _pull(name: HubName, revision: str | None, *, is_quiet: bool) -> Fetched:
    """Fetch with a progress bar, unless that isn't wanted; the hub's client keeps its own ones to itself."""
    if not has_hub_client():
        return pull_checkpoint(name)  # says what to install
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # documented names
        are_progress_bars_disabled,
        disable_progress_bars,
    )

    bar = None if is_quiet or are_progress_bars_disabled() else _Bar()
    if not are_progress_bars_disabled():
        disable_progress_bars()
    try:
        with hide_warnings("huggingface_hub"):
            return pull_checkpoint(name, revision=revision, progress=bar)
    except KeyboardInterrupt:
        click.echo("\nWhat has arrived is kept: the same command goes on from there.", err=True)
        raise
    finally:
        if bar is not None:
            bar.close()


def _list_database() -> list[dict[str, Any]] | None:
    """The models in the database; None, with a line on stderr, where there is none to ask. Starts no services."""
    settings = Settings.from_environment(os.environ)
    url = settings.database_url
    if url is None and settings.home is not None and importlib.util.find_spec("psutil") is not None:
        from siglip_ingest.services import services_status

        url = services_status(settings).get("database_url")
    if url is None:
        click.echo("No database is running; after `siglip-ingest up` its models are listed too.", err=True)
        return None
    try:
        with Database(url) as database:
            check_schema(database)
            with database.connection() as connection:
                rows = list_models(connection)
    except SiglipError as error:
        click.echo(f"The database's models can't be listed: {error}", err=True)
        return None
    return [
        {
            "name": row.name,
            "active": row.is_active,
            "dimension": row.info.dimension if row.info else None,
            "embedded": count,
            "revision": row.revision,
        }
        for row, count in rows
    ]
