"""`verify`: a checkpoint's numbers beside the published ones, and its own of an earlier time."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from siglip_ingest.cli.output import hide_warnings, json_option, local_path, print_json, print_table
from siglip_ingest.db import Database
from siglip_ingest.db.models import list_models, model_figures, store_model_figures
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.settings import Settings

if TYPE_CHECKING:
    from siglip_ingest.siglip.verify import Comparison, Figures, Report

_MOST_MISMATCHES = 10
_MOST_LETTERS = 44
_MOST_LETTERS_OF_A_VALUE = 28


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
    from siglip_ingest.services.home import Home
    from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
    from siglip_ingest.siglip.checkpoint.names import model_name
    from siglip_ingest.siglip.verify import KeptFigures, find_published, verify_checkpoint
    from siglip_ingest.siglip.verify.inputs import open_photograph

    folder_of_images = None if images is None else _find_folder(images)
    settings = Settings.from_environment(os.environ)
    # The published numbers are of float32, and of as many patches as the checkpoint's own file says.
    dtype = "float32" if settings.dtype == "auto" else settings.dtype
    settings = replace(settings, dtype=dtype, max_num_patches=None)
    name, folder = model_name(model), resolve_checkpoint(model)
    embedder = load_embedder(str(folder), settings)
    kept = KeptFigures(Home.at(settings.home).figures)
    earlier = None if update else kept.read(name, embedder.info.revision)
    # Known texts are longer than some models read, which is no news.
    with hide_warnings("siglip_ingest.siglip.tokenizer"):
        report, figures = verify_checkpoint(
            embedder,
            folder,
            name,
            published=find_published(name, embedder.info.revision, folder, named_as=named_as),
            earlier=earlier,
            open_photograph=partial(
                open_photograph,
                folder=folder_of_images,
                may_fetch=not no_fetch,
            ),
        )
    if in_database:
        report = _compare_with_database(settings, name, report, figures, update=update)
    if update or (earlier is None and report.is_match):
        note = f"Its figures are kept for the next time: {kept.write(name, figures)}"
        report = replace(report, notes=(*report.notes, note))
    _print_report(report, as_json=as_json, show_all=show_all)
    if not (as_json or report.is_match):
        click.echo(_say_what_to_do(report, model))
    return 0 if report.is_match else 1


def _find_folder(images: str) -> Path:
    folder = local_path(images)
    if not folder.is_dir():
        raise InvalidInputError(f"{images!r} is no folder: --images names the one that the photographs lie in.")
    return folder


def _say_what_to_do(report: Report, model: str) -> str:
    """The sentences after what differs; the nearest cause first."""
    from siglip_ingest.siglip.verify.report import DATABASE

    if any(row.is_published for row in report.mismatches):
        return (
            f"It isn't what is published as {report.published_as}: a file of another checkpoint, or a damaged "
            "one, lies in its folder. Fetch it again, all of its files."
        )
    options = " --database" if any(row.source == DATABASE for row in report.mismatches) else ""
    return (
        "It doesn't give what it gave before: its files have been replaced or damaged since, or another version of "
        "Pillow, torch or tokenizers is installed. Put the old ones back; if the change is meant, accept it: "
        f"siglip-ingest verify {shlex.quote(model)} --update{options}"
    )


def _compare_with_database(settings: Settings, name: str, report: Report, figures: Figures, *, update: bool) -> Report:
    """Compare with what the workers of the database compare with; with `update`, replace it."""
    from siglip_ingest.siglip.verify import Figures, compare_figures

    with _open_database(settings) as database, database.connection() as connection:
        rows = [row for row, _ in list_models(connection) if (row.name, row.revision) == (name, figures.revision)]
        if not rows:
            raise NotFoundError(f"The database has no model {name!r} at revision {figures.revision}.")
        model_id = rows[0].model_id
        if update:
            store_model_figures(connection, model_id, figures.for_start().to_dict(), replace=True)
            return replace(report, notes=(*report.notes, f"Replaced the database's figures of model {model_id}."))
        stored = model_figures(connection, model_id)
    if stored is None:
        return replace(report, notes=(*report.notes, "The database has no figures yet: its next worker stores them."))
    comparisons = compare_figures(figures, Figures.from_dict(stored), source="database")
    return replace(report, comparisons=[*report.comparisons, *comparisons])


@contextmanager
def _open_database(settings: Settings) -> Iterator[Database]:
    if settings.database_url is not None:
        with Database(settings.database_url) as database:
            database.check_schema()
            yield database
        return
    from siglip_ingest.services import EmbeddedServices

    with EmbeddedServices(settings) as services, Database(services.database_url) as database:
        yield database


def _print_report(report: Report, *, as_json: bool, show_all: bool) -> None:
    from siglip_ingest.siglip.verify import Verdict

    if as_json:
        counts = {verdict.name.lower(): report.count(verdict) for verdict in Verdict}
        print_json({**asdict(report), "is_match": report.is_match, "counts": counts})
        return
    published = f", compared as {report.published_as}" if report.published_as not in {None, report.model} else ""
    click.echo(f"{report.model}{published}, revision {report.revision}, {report.dtype} on {report.device}")
    seen: Counter[str] = Counter()  # what differs, by what it is compared with
    shown, hidden = [], 0
    for row in report.comparisons:
        seen[row.source] += row.verdict is Verdict.MISMATCH
        if show_all or row.is_published or (row.verdict is Verdict.MISMATCH and seen[row.source] <= _MOST_MISMATCHES):
            shown.append(row)
        elif row.verdict is Verdict.MISMATCH:
            hidden += 1
    if shown:
        print_table(("verdict", "what", "expected", "found", "difference", "from"), [_cells(row) for row in shown])
    if hidden:
        click.echo(f"... and {hidden} more that differ; --all lists them.")
    for reason in dict.fromkeys(row.reason for row in report.comparisons if row.reason):
        click.echo(f"Not compared: {reason}")
    for note in report.notes:
        click.echo(note)
    if not report.comparisons:
        click.echo("Nothing was compared: no numbers are published of this checkpoint, and it has no earlier figures.")
        return
    click.echo(
        f"{report.count(Verdict.MATCH)} match, {report.count(Verdict.MISMATCH)} differ, "
        f"{report.count(Verdict.NOT_COMPARED)} were not compared."
    )


def _cells(row: Comparison) -> tuple[Any, ...]:
    difference = "" if row.difference is None else f"{row.difference:.2g}"
    origin = "published" if row.is_published else row.source
    expected, found = (_shorten(value, _MOST_LETTERS_OF_A_VALUE) for value in (row.expected, row.found))
    return (row.verdict.value, _shorten(row.what, _MOST_LETTERS), expected, found, difference, origin)


def _shorten(value: object, most: int) -> str:
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else text[: most - 3] + "..."
