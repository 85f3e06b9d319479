"""`demo`: draws images, indexes them, and shows searches and labels, in about a minute."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click

from siglip_ingest.cli.contact_sheet import Section, write_contact_sheet
from siglip_ingest.cli.output import print_table
from siglip_ingest.cli.serving import serve
from siglip_ingest.client import SiglipClient
from siglip_ingest.ingest import ImageSource
from siglip_ingest.settings import Settings
from siglip_ingest.sources.uris import format_uri
from siglip_ingest.types import ImageMatch

COLLECTION = "demo"
TEXT_QUERIES = ("sunset over water", "a castle in the snow at night", "a hot air balloon over mountains")
LABEL_QUERY = """\
SELECT label, count(*) AS images, round(avg(score)::numeric, 3) AS mean_score
FROM siglip.label_scores
WHERE label_set = 'skies' AND score > 0.5
GROUP BY label ORDER BY images DESC, label"""
SEARCH_QUERY = (
    "SELECT image_id, round(score::numeric, 3) AS score, uri FROM siglip.search_images('a boat on the water', 3)"
)


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("siglip-demo"),
    show_default=True,
    help="Where to work.",
)
@click.option(
    "--images", type=click.IntRange(1, 100_000), default=400, show_default=True, help="How many images to draw."
)
@click.pass_context
def demo(context: click.Context, folder: Path, images: int) -> None:
    """Draw images, index them and search them, and offer to show them in a browser.

    Everything is real, and nothing needs to be configured: PostgreSQL, Redis, a Celery worker, a small SigLIP.
    """
    from siglip_ingest.demo.world import SKIES, write_images

    started = time.perf_counter()
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    _say(f"1. Drawing {images} images into {folder / 'images'}")
    drawn = write_images(folder / "images", images)

    _say("2. Starting PostgreSQL with pgvector, Redis and a Celery worker of its own")
    home = _empty_home(folder / ".siglip-ingest-demo")
    with SiglipClient(model="demo", home=home) as client:
        ingestion = client.enqueue_images(
            [ImageSource(image.path, metadata=image.attributes) for image in drawn], collection=COLLECTION
        )
        _say("3. Indexing through the queue")
        counts = ingestion.wait()
        click.echo(f"   {counts.done} done, {counts.failed} failed")

        _say("4. Searching by text, and for images like the first one found")
        sections = [_search_by_text(client, text) for text in TEXT_QUERIES]
        sections.append(_search_like(client, sections[0].matches[0]))

        _say("5. Zero-shot labels are rows: a label set, then plain SQL")
        _show_code(f'create_label_set("skies", {list(SKIES)})')
        client.create_label_set("skies", list(SKIES))
        _run_sql(client, LABEL_QUERY)
        _say("6. Search from plain SQL; a text that was never asked before reaches the worker through the database")
        _run_sql(client, SEARCH_QUERY)

        sheet = folder / "contact-sheet.html"
        write_contact_sheet(sheet, "siglip-ingest demo", sections, client.database, client.settings)
        _say(f"7. The same with images: {sheet.as_uri()}")
    _say(f"Done in {time.perf_counter() - started:.0f} s; everything that was started is stopped.")
    program = "siglip-ingest" if shutil.which("siglip-ingest") else os.path.relpath(sys.argv[0])
    click.echo(f"   The gallery, in a browser: SIGLIP_HOME={shlex.quote(str(home))} SIGLIP_MODEL=demo {program} serve")
    click.echo(
        "   Now with your own photos:\n"
        "   export SIGLIP_MODEL=google/siglip2-base-patch16-224   # the default; downloaded once, 1.5 GB\n"
        f"   {program} index ~/Pictures\n"
        f'   {program} search "sunset over water" --html found.html\n'
        "   With SIGLIP_DATABASE_URL and SIGLIP_BROKER_URL it uses your PostgreSQL and Redis; see README.md."
    )
    if _may_ask() and click.confirm("Open the gallery now?", default=True):
        os.environ.update(SIGLIP_HOME=str(home), SIGLIP_MODEL="demo")
        context.invoke(serve)


def _may_ask() -> bool:
    """Whether somebody is there to answer, and the gallery's dependencies are too."""
    return sys.stdin.isatty() and sys.stdout.isatty() and find_spec("fastapi") is not None


def _say(text: str) -> None:
    click.echo(click.style(text, bold=True))


def _show_code(code: str) -> None:
    for line in code.splitlines():
        click.echo(click.style(f"   {line}", fg="cyan"))


def _empty_home(home: Path) -> Path:
    """A home for the embedded services without an earlier run's data, which may be another checkpoint's."""
    from siglip_ingest.services import stop_services

    if home.exists():
        stop_services(Settings(home=home))
        shutil.rmtree(home)
    return home


def _search_by_text(client: SiglipClient, text: str) -> Section:
    _show_code(f'search_images("{text}", limit=5)')
    matches = client.search_images(text, limit=5, collection=COLLECTION)
    _print(matches)
    return Section(text, f'search_images("{text}", limit=5)', matches)


def _search_like(client: SiglipClient, match: ImageMatch) -> Section:
    _show_code(f"similar_images({match.image_id}, limit=5)  # {Path(format_uri(match.uri)).name}")
    matches = client.similar_images(match.image_id, limit=5, collection=COLLECTION)
    _print(matches)
    return Section(
        f"Like {Path(format_uri(match.uri)).name}",
        f"similar_images({match.image_id}, limit=5); the first is the query",
        [replace(match, similarity=1.0, score=1.0), *matches],
    )


def _print(matches: list[ImageMatch]) -> None:
    print_table(
        ("score", "similarity", "image"),
        [(match.score, match.similarity, Path(format_uri(match.uri)).name) for match in matches],
        indent="   ",
    )


def _run_sql(client: SiglipClient, query: str) -> None:
    _show_code(query)
    with client.database.connection() as connection:
        cursor = connection.execute(query.encode())
        print_table([column.name for column in cursor.description or ()], cursor.fetchall(), indent="   ")
