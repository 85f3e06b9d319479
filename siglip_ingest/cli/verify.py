"""`verify`: a checkpoint's numbers beside the published ones, and its own of an earlier time."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siglip_ingest.cli.output import hide_warnings, json_option, local_path, print_json, print_table
from siglip_ingest.db import Database
from siglip_ingest.db.models import list_models, model_figures, store_model_figures
from siglip_ingest.db.schema import check_schema
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.settings import Settings

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder
    from siglip_ingest.siglip.verify.comparison import Comparison
    from siglip_ingest.siglip.verify.figures import Figures

_MOST_MISMATCHES = 10
_MOST_LETTERS = 44
_MOST_LETTERS_OF_A_VALUE = 28
_WORDS = {"match": "matches", "mismatch": "DIFFERS", "not_compared": "not compared"}


@click.command()
@click.argument("model")
@click.option("--as", "named_as", metavar="NAME", help="Which published checkpoint a folder holds.")
@click.option("--images", metavar="FOLDER", help="Holds the photographs that published numbers are of.")
@click.option("--no-fetch", is_flag=True, help="Don't fetch photographs that aren't there.")
@click.option("--update", is_flag=True, help="Replace the earlier figures by those of now, without comparing.")
@click.option(
    "--database", "in_database", is_flag=True, help="The figures that the database's workers compare with, too."
)
@click.option("--all", "show_all", is_flag=True, help="List what matches the earlier figures, and all that differs.")
@json_option
def verify(
    model: str,
    named_as: str | None,
    images: str | None,
    no_fetch: bool,
    update: bool,
    in_database: bool,
    show_all: bool,
    as_json: bool,
) -> int:
    """Put known inputs through a checkpoint and compare what comes out.

    MODEL is a folder, a hub name or `demo`. What is published of it is compared (token ids, logits, probabilities,
    parameters), and its own figures of the first time, which are kept in SIGLIP_HOME. It computes in float32 unless
    SIGLIP_DTYPE says otherwise. Exit status 1 if something differs.
    """
    from siglip_ingest.embedders.local import load_embedder
    from siglip_ingest.services.data_folder import DataFolder
    from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
    from siglip_ingest.siglip.checkpoint.names import model_name
    from siglip_ingest.siglip.verify import verify_checkpoint
    from siglip_ingest.siglip.verify.comparison import VERDICTS
    from siglip_ingest.siglip.verify.figures import read_figures, write_figures
    from siglip_ingest.siglip.verify.inputs import open_photograph
    from siglip_ingest.siglip.verify.published import find_published

    folder_of_images = None if images is None else _find_folder(images)
    settings = Settings.from_environment(os.environ)
    # The published numbers are of float32, and of as many patches as the checkpoint's own file says.
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    settings = replace(settings, dtype=dtype, max_num_patches=None)
    name, folder = model_name(model), resolve_checkpoint(model)
    embedder, home = load_embedder(str(folder), settings), DataFolder.at(settings.home).figures
    revision = embedder.info.revision
    published = find_published(name, revision, folder, named_as=named_as)
    earlier = None if update else read_figures(home, name, revision)
    # Known texts are longer than some models read, which is no news.
    with hide_warnings("siglip_ingest.siglip.tokenizer"):
        rows, figures = verify_checkpoint(
            embedder,
            folder,
            published=published,
            earlier=earlier,
            open_photograph=partial(open_photograph, folder=folder_of_images, may_fetch=not no_fetch),
        )
    notes = []
    if in_database:
        more, note = _compare_with_database(settings, name, embedder, figures, update=update)
        rows, notes = [*rows, *more], [note] if note else []
    mismatches = [row for row in rows if row.is_mismatch]
    if update or (earlier is None and not mismatches):
        notes.append(f"Its figures are kept for the next time: {write_figures(home, name, figures)}")
    report = {
        "model": name,
        "published_as": published and published["name"],
        **{key: figures[key] for key in ("revision", "dtype", "device")},
        "counts": {verdict: sum(row.verdict == verdict for row in rows) for verdict in VERDICTS},
        "is_match": not mismatches,
        "notes": notes,
    }
    if as_json:
        comparisons = [asdict(row) | {"difference": row.difference, "verdict": row.verdict} for row in rows]
        print_json({**report, "comparisons": comparisons})
        return 1 if mismatches else 0
    _print_report(report, rows, show_all=show_all)
    if mismatches:
        click.echo(_say_what_to_do(mismatches, report["published_as"], model))
    return 1 if mismatches else 0


def _find_folder(images: str) -> Path:
    folder = local_path(images)
    if not folder.is_dir():
        raise InvalidInputError(f"{images!r} is no folder: --images names the one that the photographs lie in.")
    return folder


def _say_what_to_do(mismatches: Sequence[Comparison], published_as: str, model: str) -> str:
    """The sentences after what differs; the nearest cause first."""
    if any(row.is_published for row in mismatches):
        return (
            f"It isn't what is published as {published_as}: a file of another checkpoint, or a damaged one, lies in "
            "its folder. Fetch it again, all of its files."
        )
    options = " --database" if any(row.source == "database" for row in mismatches) else ""
    return (
        "It doesn't give what it gave before: its files have been replaced or damaged since, or another version of "
        "Pillow, torch or tokenizers is installed. Put the old ones back; if the change is meant, accept it: "
        f"siglip-ingest verify {shlex.quote(model)} --update{options}"
    )


def _compare_with_database(
    settings: Settings, name: str, embedder: TorchEmbedder, figures: Figures, *, update: bool
) -> tuple[list[Comparison], str | None]:
    """Compare with what the workers of the database compare with; with `update`, replace it. Gives a note, too."""
    from siglip_ingest.siglip.verify.figures import compare_figures, take_figures

    with _open_database(settings) as database, database.connection() as connection:
        models = [row for row, _ in list_models(connection) if (row.name, row.revision) == (name, figures["revision"])]
        if not models:
            raise NotFoundError(f"The database has no model {name!r} at revision {figures['revision']}.")
        model_id = models[0].model_id
        if update:
            store_model_figures(connection, model_id, take_figures(embedder), replace=True)
            return [], f"Replaced the database's figures of model {model_id}."
        stored = model_figures(connection, model_id)
    if stored is None:
        return [], "The database has no figures yet: its next worker stores them."
    return compare_figures(figures, stored, source="database"), None


@contextmanager
def _open_database(settings: Settings) -> Iterator[Database]:
    if settings.database_url is not None:
        with Database(settings.database_url) as database:
            check_schema(database)
            yield database
        return
    from siglip_ingest.services import EmbeddedServices

    with EmbeddedServices(settings) as services, Database(services.database_url) as database:
        yield database


def _print_report(report: dict[str, Any], rows: Sequence[Comparison], *, show_all: bool) -> None:
    published_as = report["published_as"]
    published = f", compared as {published_as}" if published_as not in {None, report["model"]} else ""
    click.echo(f"{report['model']}{published}, revision {report['revision']}, {report['dtype']} on {report['device']}")
    seen: Counter[str] = Counter()  # what differs, by what it is compared with
    shown, hidden = [], 0
    for row in rows:
        seen[row.source] += row.is_mismatch
        if show_all or row.is_published or (row.is_mismatch and seen[row.source] <= _MOST_MISMATCHES):
            shown.append(row)
        elif row.is_mismatch:
            hidden += 1
    if shown:
        print_table(("verdict", "what", "expected", "found", "difference", "from"), [_cells(row) for row in shown])
    if hidden:
        click.echo(f"... and {hidden} more that differ; --all lists them.")
    for reason in dict.fromkeys(row.reason for row in rows if row.reason):
        click.echo(f"Not compared: {reason}")
    for note in report["notes"]:
        click.echo(note)
    if not rows:
        click.echo("Nothing was compared: no numbers are published of this checkpoint, and it has no earlier figures.")
        return
    click.echo("{match} match, {mismatch} differ, {not_compared} were not compared.".format(**report["counts"]))


def _cells(row: Comparison) -> tuple[str, ...]:
    from siglip_ingest.siglip.verify.comparison import shorten

    difference = "" if row.difference is None else f"{row.difference:.2g}"
    expected, found = shorten(row.expected, _MOST_LETTERS_OF_A_VALUE), shorten(row.found, _MOST_LETTERS_OF_A_VALUE)
    origin = "published" if row.is_published else row.source
    return (_WORDS[row.verdict], shorten(row.what, _MOST_LETTERS), expected, found, difference, origin)
