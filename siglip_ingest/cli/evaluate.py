"""`eval`: measures zero-shot accuracy and recall, the papers' numbers, on your own data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from siglip_ingest.active_model import DEFAULT_MODEL
from siglip_ingest.cli.output import hide_warnings, json_option, local_path, print_json, print_table
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.settings import Settings

if TYPE_CHECKING:
    from siglip_ingest.siglip.evaluation import Evaluation
    from siglip_ingest.siglip.evaluation.measures import StartBar
    from siglip_ingest.types import ModelInfo

_SHOWN_SKIPPED = 5
_SHOWN_CLASSES = 10
_FEW_IMAGES = 100  # of so many, a share of 0.5 has a standard error of 0.05
_CLIP = "clip"


@click.command("eval")
@click.argument("data")
@click.option("--model", metavar="NAME", help="Checkpoint: a folder, a hub name or `demo`; by default SIGLIP_MODEL.")
@click.option("--classes", metavar="FILE", help="Names of the classes: JSON or text, a folder and its names a line.")
@click.option(
    "--template", "templates", multiple=True, help="Makes prompts of a name, contains {label}; may be repeated."
)
@click.option("--templates", "templates_file", metavar="FILE", help="Templates, one a line; `clip` for CLIP's 80.")
@click.option("--images", metavar="FOLDER", help="Where the images of a captions file are, if not beside it.")
@click.option("--split", help="Only the records of a captions file with this split, such as `test`.")
@click.option("--limit", type=click.IntRange(min=1), help="Most images, taken evenly from all.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images on the device at a time.")
@click.option("--output", metavar="FILE", help="Write the report to a Markdown file too.")
@json_option
def evaluate(
    data: str,
    model: str | None,
    classes: str | None,
    templates: tuple[str, ...],
    templates_file: str | None,
    images: str | None,
    split: str | None,
    limit: int | None,
    batch_size: int | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Measure zero-shot accuracy, or retrieval recall@1, 5 and 10.

    DATA is a folder with one folder of images for each class, or a file of captions: JSON lines or CSV with an image
    and its captions, COCO's annotations, or Karpathy's splits of COCO and Flickr30k.
    """
    from siglip_ingest.embedders.local import load_embedder
    from siglip_ingest.siglip.checkpoint.names import model_name
    from siglip_ingest.siglip.evaluation import measure_labels, measure_retrieval

    settings = Settings.from_environment(os.environ)
    settings = settings if batch_size is None else replace(settings, batch_size=batch_size)
    path = local_path(data)
    read = _read_data(path, classes=classes, images=images, split=split)  # before a model is loaded, or even fetched
    prompts = _choose_templates(templates, templates_file)
    embedder = load_embedder(model_name(model or settings.model or DEFAULT_MODEL), settings)
    options: dict[str, Any] = {
        "limits": settings.image_limits,
        "decode_threads": settings.decode_threads,
        "limit": limit,
    }
    # The report counts the texts that are cut.
    with hide_warnings("siglip_ingest.siglip.tokenizer"), _bars() as start_bar:
        if path.is_dir():
            found = measure_labels(embedder, read, templates=prompts, start_bar=start_bar, **options)
        else:
            found = measure_retrieval(embedder, read, start_bar=start_bar, **options)
    if (count := found.counts["images"]) < _FEW_IMAGES:
        counted = "1 image says" if count == 1 else f"{count} images say"
        note = f"{counted} little: of {_FEW_IMAGES} and more the figures may be quite others."
        found = replace(found, notes=(note, *found.notes))
    if output is not None:
        _write_report(local_path(output), path, embedder.info, embedder.dtype, embedder.device, found)
        click.echo(f"Wrote {output}", err=True)
    if as_json:
        about = {"model": embedder.info.name, "revision": embedder.info.revision, "data": str(path)}
        print_json(about | {"dtype": embedder.dtype, "device": embedder.device} | asdict(found))
    else:
        _print(found, f"{embedder.info.name}, {embedder.dtype} on {embedder.device}")


def _read_data(path: Path, *, classes: str | None, images: str | None, split: str | None) -> list[Any]:
    """Read the classes of a folder or the captions of a file."""
    from siglip_ingest.siglip.datasets import read_captions, read_classes

    if path.is_dir():
        if images is not None or split is not None:
            raise click.UsageError("--images and --split go with a file of captions.")
        return list(read_classes(path, names=None if classes is None else local_path(classes)))
    if classes is not None:
        raise click.UsageError("--classes goes with a folder of classes.")
    return list(read_captions(path, images=None if images is None else local_path(images), split=split))


def _choose_templates(given: tuple[str, ...], file: str | None) -> list[str]:
    from siglip_ingest.siglip.evaluation import read_clip_templates
    from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE

    if given and file is not None:
        raise click.UsageError("Give --template or --templates, not both.")
    if file is None:
        return list(given) or [DEFAULT_TEMPLATE]
    if file == _CLIP:
        return read_clip_templates()
    try:
        lines = [line.strip() for line in local_path(file).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"The templates in {file} can't be read: {error}.") from error
    if not lines:
        raise InvalidInputError(f"{file} has no templates.")
    return lines


@contextmanager
def _bars() -> Iterator[StartBar]:
    """Progress bars on standard error, one after the other, where that is a terminal."""
    shown: list[tqdm[Any]] = []

    def start(name: str, total: int) -> Any:
        for bar in shown:
            bar.close()
        shown.append(tqdm(total=total, desc=name, unit="", disable=None, leave=False, dynamic_ncols=True))
        return shown[-1].update

    try:
        yield start
    finally:
        for bar in shown:
            bar.close()


def _print(found: Evaluation, model: str) -> None:
    counts = ", ".join(f"{count:,} {name}" for name, count in found.counts.items())
    click.echo(f"{found.task}, {model}: {counts}; {found.images_per_s:.1f} images/s")
    print_table((found.task, "share"), list(found.figures.items()))
    if found.by_class:
        worst = sorted(found.by_class.items(), key=lambda item: item[1][0])[:_SHOWN_CLASSES]
        which = (
            "Each class" if len(worst) == len(found.by_class) else f"The {len(worst)} worst classes (--json has all)"
        )
        click.echo(f"{which}:")
        print_table(
            ("class", "accuracy", "images"), [(name, share, count) for name, (share, count) in worst], indent="  "
        )
    for note in found.notes:
        click.echo(note)
    for skipped in found.skipped[:_SHOWN_SKIPPED]:
        click.echo(f"Left out: {skipped.path}: {skipped.reason}", err=True)
    if len(found.skipped) > _SHOWN_SKIPPED:
        click.echo(f"... and {len(found.skipped) - _SHOWN_SKIPPED:,} more; --json lists them all.", err=True)


def _write_report(path: Path, data: Path, info: ModelInfo, dtype: str, device: str, found: Evaluation) -> None:
    lines = [
        f"# {found.task.capitalize()}: {info.name} on {data}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {share:.4f} |" for name, share in found.figures.items()),
        *(f"| {name} | {count:,} |" for name, count in found.counts.items()),
        f"| images/s | {found.images_per_s:.1f} |",
        f"| revision | {info.revision} |",
        f"| computed in | {dtype} on {device} |",
    ]
    if found.by_class:
        lines += ["", "| class | accuracy | images |", "|---|---|---|"]
        lines += [f"| {name} | {share:.4f} | {count:,} |" for name, (share, count) in found.by_class.items()]
    lines += ["", *found.notes, *(f"- Left out: {skipped.path}: {skipped.reason}" for skipped in found.skipped)]
    try:
        path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be written: {error.strerror}.") from error
