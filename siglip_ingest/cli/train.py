"""`train`: fine-tunes a checkpoint on images with captions, or on folders of classes."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from siglip_ingest.cli.output import json_option, local_path, print_json
from siglip_ingest.embedders.settings import PATCHES_RANGE
from siglip_ingest.errors import ConfigurationError, SiglipError
from siglip_ingest.process import how_to_install
from siglip_ingest.settings import Settings

if TYPE_CHECKING:
    from siglip_ingest.siglip.training.trainer import StepLog

EPILOG = """
DATA is a folder with captions.jsonl, metadata.jsonl, captions.csv or the like; such a file itself ({"image": "a.jpg",
"caption": "..."} a line, or a list in "captions"); a folder of webdataset shards, or shards such as
'train-{000..009}.tar', with key.jpg and key.txt or key.json. With --task classify it is a folder with one subfolder a
class.

\b
Several processes, each with its part of every batch, on as many GPUs or on the CPU:
  torchrun --nproc-per-node 2 --no-python siglip-ingest train DATA --from CHECKPOINT --to FOLDER

--freeze takes names of parameters, or of what they are part of: vision, text, constants (logit scale and bias),
vision.embeddings, 'text.encoder.layers.[0-5]'. Locked-image tuning is --freeze vision.
"""


def _split(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Take an option that is given several times, or once with commas."""
    return tuple(name.strip() for value in values for name in value.split(",") if name.strip())


@click.command(epilog=EPILOG)
@click.argument("data")
@click.option("--from", "source", required=True, metavar="CHECKPOINT", help="A folder, a hub name, or demo.")
@click.option("--to", "target", required=True, metavar="FOLDER", help="Where the trained checkpoint goes.")
@click.option(
    "--task",
    type=click.Choice(["captions", "classify"]),
    default="captions",
    show_default=True,
    help="Both towers on captions, or a classifier on the vision tower.",
)
@click.option("--epochs", type=click.FloatRange(0, min_open=True), help="Times to go through the data.  [default: 1]")
@click.option("--steps", type=click.IntRange(1), help="Optimiser steps, instead of --epochs.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Images a batch, of all processes."
)
@click.option("--accumulate", type=click.IntRange(1), default=1, show_default=True, help="Batches in one step.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    help="At its peak.  [default: 1e-5; 1e-3 for a classifier alone]",
)
@click.option("--warmup-steps", type=click.IntRange(0), help="[default: a tenth of the steps, at most 200]")
@click.option(
    "--weight-decay", type=click.FloatRange(0), default=1e-4, show_default=True, help="Of matrices, not of biases."
)
@click.option(
    "--freeze",
    multiple=True,
    callback=_split,
    metavar="PARTS",
    help="What isn't trained.  [default: none; vision for a classifier]",
)
@click.option("--unfreeze", multiple=True, callback=_split, metavar="PARTS", help="What of it is trained nevertheless.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of images.")
@click.option("--max-num-patches", type=click.IntRange(*PATCHES_RANGE), help="NaFlex: most patches of an image.")
@click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of matrix products; weights stay float32. auto is bfloat16 on a GPU.",
)
@click.option("--device", help="auto, cpu, cuda, ...  [default: SIGLIP_DEVICE, or auto]")
@click.option(
    "--parallel",
    type=click.Choice(["ddp", "fsdp"]),
    default="ddp",
    show_default=True,
    help="Under torchrun: the whole model in each process, or a part of it.",
)
@click.option("--save-every", type=click.IntRange(1), default=500, show_default=True, help="Steps between two saves.")
@click.option("--log-every", type=click.IntRange(1), default=10, show_default=True, help="Steps between two log lines.")
@click.option("--resume", is_flag=True, help="Go on with the run in FOLDER that was stopped; its losses are the same.")
@json_option
def train(
    source: str,
    target: str,
    device: str | None,
    dtype: str,
    parallel: Any,
    save_every: int,
    log_every: int,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fine-tune a checkpoint on DATA.

    FOLDER gets the checkpoint, which transformers and `models use` read, and train_log.jsonl. Images that can't be
    read are named and left out. Ctrl-C ends the run after its step and saves it, for --resume; a second one ends it at
    once.
    """
    if options["steps"] is not None and options["epochs"] is not None:
        raise click.UsageError("Give --steps or --epochs, not both.")
    from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint

    settings = Settings.from_environment(os.environ)
    try:
        from siglip_ingest.siglip.training import join_processes
        from siglip_ingest.siglip.training.fine_tuning import Listeners, fine_tune
        from siglip_ingest.siglip.training.interruption import InterruptedTrainingError, Interruption
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Training needs {error.name}, which isn't installed: {how_to_install('model')}."
        ) from error
    from siglip_ingest.siglip.training.distributed.process_group import ProcessGroup, is_told_by_first

    rank, size, local_rank = _find_place(os.environ)
    group = ProcessGroup(rank, size, parallel)
    chosen = _choose_device(device or settings.device, local_rank if size > 1 else None)
    recipe = _make_recipe(options, resolve_checkpoint(source), is_autocast=_is_autocast(dtype, chosen.type))
    interruption = Interruption()
    try:
        with join_processes(group, chosen):
            result = fine_tune(
                recipe,
                local_path(target),
                device=chosen,
                group=group,
                is_resumed=resume,
                log_interval=log_every,
                save_interval=save_every,
                listeners=Listeners(log=_print_line, say=lambda text: click.echo(text, err=True)),
                interruption=interruption,
                limits=settings.image_limits,
            )
    except InterruptedTrainingError as error:
        if group.is_first:
            click.echo(str(error), err=True)
        _leave(128 + (interruption.received or signal.SIGINT))
    except SiglipError as error:
        if is_told_by_first(group, str(error), os.environ):
            _leave(1)
        raise
    if group.is_first and as_json:
        print_json(result)
    elif group.is_first:
        _print_result(result, options["task"])
    if size > 1:
        _leave(0)


def _leave(status: int) -> NoReturn:
    """End this process without taking the interpreter down first.

    DistributedDataParallel leaves gloo's threads behind; one that wakes up while the interpreter stops aborts the
    process, and torchrun takes that for a failed run (seen once in some tens of runs with torch 2.13).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _find_place(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Read what torchrun says: this process's number, how many there are, and its number on this machine.

    Raises:
        ConfigurationError: If these aren't numbers.
    """
    try:
        rank, size = int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1"))
        return rank, size, int(environment.get("LOCAL_RANK", rank))
    except ValueError as error:
        raise ConfigurationError(
            f"RANK, WORLD_SIZE and LOCAL_RANK, which torchrun sets, must be numbers: {error}."
        ) from error


def _choose_device(name: str, local_rank: int | None) -> Any:
    """Turn a setting into a device; with several processes each takes the GPU of its own number."""
    from siglip_ingest.siglip.devices import choose_device

    device = choose_device(name)
    if device.type == "cuda" and device.index is None and local_rank is not None:
        return choose_device(f"cuda:{local_rank}")
    return device


def _is_autocast(dtype: str, device_type: str) -> bool:
    return dtype == "bfloat16" or (dtype == "auto" and device_type == "cuda")


def _make_recipe(options: dict[str, Any], checkpoint: Path, *, is_autocast: bool) -> Any:
    from siglip_ingest.siglip.training.recipe import Recipe

    renamed = {"accumulate": "accumulation"}
    values = {renamed.get(name, name): value for name, value in options.items()}
    values["data"] = str(local_path(values["data"]).absolute())
    values["epochs"] = 1.0 if values["epochs"] is None else values["epochs"]
    return Recipe(checkpoint=checkpoint, is_autocast=is_autocast, **values)


def _print_line(line: StepLog, steps: int) -> None:
    click.echo(
        f"step {line.step}/{steps}  loss {line.loss:.4f}  learning_rate {line.learning_rate:.2e}  "
        f"{line.images_per_s:.1f} images/s",
        err=True,
    )


def _print_result(result: dict[str, Any], task: str) -> None:
    unusable = len(result["unusable"])
    also = f"; {unusable} could not be used" if unusable else ""
    click.echo(f"{result['checkpoint']}: {result['steps']} steps, {result['images']} images{also}.")
    if task == "classify":
        click.echo("It loads as an image classifier: transformers' AutoModelForImageClassification reads it.")
    else:
        click.echo(f"Search with it: siglip-ingest models use {shlex.quote(result['checkpoint'])}")
