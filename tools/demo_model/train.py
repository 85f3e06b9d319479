"""Trains the demo checkpoint from nothing: `python -m tools.demo_model.train`, about an hour on two idle cores.

Two lessons: attributes alone, then captions and attributes (see `lessons.attributes`); at last the logit's bias is set
for collections (see `evaluate.find_bias`). A run that was stopped goes on where it was when started again.

The checkpoint that ships took 900 and 4,100 steps of these two, in about an hour on two busy cores. It was stopped
while this recipe took shape: the first lesson at half of its cosine, the second at step 1,200 for harder near misses
and at 2,600, cooled down, to go on for longer.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.world import CALIBRATION_SEED
from siglip_ingest.siglip.checkpoint.loading import save_checkpoint
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig
from siglip_ingest.siglip.preprocess.image import PREPROCESSOR_FILE, ImageSettings
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from siglip_ingest.siglip.training import Trainer, TrainingSettings
from tools.demo_model.attributes import ModelWithHeads, compute_demo_loss
from tools.demo_model.evaluate import Encoder, choose_examples, evaluate, find_bias, measure
from tools.demo_model.pool import DemoBatches, draw_pool
from tools.demo_model.tokenizer import TEXT_LENGTH, count_pieces, train_tokenizer, write_json
from tools.demo_model.warm_start import warm_start

IMAGE_SIZE = 64
PATCH_SIZE = 8
SEED = 0
WARMUP_STEPS = 150
EXAMPLES = 1000


def make_config(vocab_size: int) -> SiglipConfig:
    """Size a model that fits 8 MB in float16 and learns on a CPU: 2.7 million parameters."""
    return SiglipConfig(
        text_config=SiglipTextConfig(
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=2,
            num_attention_heads=2,
            vocab_size=vocab_size,
            max_position_embeddings=TEXT_LENGTH,
            projection_size=192,
        ),
        vision_config=SiglipVisionConfig(
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=6,
            image_size=IMAGE_SIZE,
            patch_size=PATCH_SIZE,
        ),
    )


def write_preprocessor(folder: Path) -> None:
    """Write preprocessor_config.json as the published checkpoints have it."""
    settings = ImageSettings(size=(IMAGE_SIZE, IMAGE_SIZE)).to_dict()
    flags = {"do_convert_rgb": None, "do_normalize": True, "do_rescale": True, "do_resize": True}
    names = {"image_processor_type": "SiglipImageProcessor", "processor_class": "SiglipProcessor"}
    write_json(folder / PREPROCESSOR_FILE, {**settings, **flags, **names})


def publish(source: Path, target: Path) -> None:
    """Put a finished checkpoint folder in the place of another, so that no half-written one is ever there."""
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, fresh)
    for path in fresh.iterdir():
        path.chmod(0o644)  # safetensors makes files for their owner alone
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def run_with_stops(
    trainer: Trainer[Any, Any], state: Path, interval: int, at_stop: Callable[[], None] = lambda: None
) -> None:
    """Train to the end, from `state` where it exists; every `interval` steps write it and call `at_stop`."""
    if state.exists():
        trainer.load_state(state)
    while trainer.step < trainer.settings.steps:
        trainer.run((trainer.step // interval + 1) * interval)
        trainer.save_state(state)
        at_stop()


def check_recipe(path: Path, recipe: dict[str, float]) -> None:
    """Note what a folder's run is made with; refuse to go on with a run that was made otherwise.

    Raises:
        click.UsageError: If the folder holds another recipe's images and state.
    """
    if path.exists() and (earlier := json.loads(path.read_text())) != recipe:
        raise click.UsageError(
            f"{path.parent} holds a run of {earlier}, not of {recipe}. Empty it, or name another --folder."
        )
    path.write_text(json.dumps(recipe) + "\n")


@click.command()
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("build/demo-model"),
    show_default=True,
    help="Where the drawn images, the training state and the checkpoint in the making are kept.",
)
@click.option("--out", type=click.Path(path_type=Path), default=CHECKPOINT, help="Where the finished checkpoint goes.")
@click.option("--images", default=100_000, show_default=True, help="Training images; each takes 12 kB on disk.")
@click.option("--attribute-steps", default=1200, show_default=True, help="Optimiser steps of the first lesson.")
@click.option("--steps", default=5000, show_default=True, help="Optimiser steps of the second lesson.")
@click.option("--batch-size", default=64, show_default=True, help="Images a step.")
@click.option("--learning-rate", default=1e-3, show_default=True, help="At its peak.")
@click.option("--measure-interval", default=500, show_default=True, help="Steps between two measurements.")
@click.option("--log-interval", default=50, show_default=True, help="Steps between two log lines.")
def main(  # click passes them by name
    folder: Path,
    out: Path,
    images: int,
    attribute_steps: int,
    steps: int,
    batch_size: int,
    learning_rate: float,
    measure_interval: int,
    log_interval: int,
) -> None:
    """Train the demo checkpoint from nothing, or go on where a run in the same folder was stopped."""
    started = time.monotonic()

    def say(line: object) -> None:
        click.echo(f"[{(time.monotonic() - started) / 60:5.1f} min] {line}")

    draft, pool = folder / "checkpoint", folder / "images.npy"
    folder.mkdir(parents=True, exist_ok=True)
    check_recipe(
        folder / "recipe.json",
        {
            "images": images,
            "image_size": IMAGE_SIZE,
            "attribute_steps": attribute_steps,
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
        },
    )
    if not pool.exists():
        draw_pool(pool, images, size=IMAGE_SIZE, progress=lambda done: say(f"{done:,} of {images:,} images drawn"))
    train_tokenizer(draft)
    write_preprocessor(draft)
    tokenizer = load_tokenizer(draft, max_length=TEXT_LENGTH)
    torch.manual_seed(SEED)
    torch.set_flush_denormal(True)
    model = SiglipModel(make_config(count_pieces(draft)))
    model.init_weights()
    batches = DemoBatches(np.load(pool, mmap_mode="r")[:images], tokenizer, batch_size=batch_size)
    warm_start(model, batches.sample_pixels(3000))
    say(f"{sum(p.numel() for p in model.parameters()):,} parameters, {count_pieces(draft)} pieces")
    rates: dict[str, Any] = {"learning_rate": learning_rate, "warmup_steps": WARMUP_STEPS, "log_interval": log_interval}

    say("first lesson: attributes")
    model_with_heads = ModelWithHeads(model)
    settings = TrainingSettings(steps=attribute_steps, **rates)
    first = Trainer(model_with_heads, compute_demo_loss, batches.make_wordless, settings, log=say)
    run_with_stops(first, folder / "attributes.safetensors", measure_interval)

    say("second lesson: captions and attributes")
    examples = choose_examples(EXAMPLES)
    encoder = Encoder(model, tokenizer, ImageSettings.from_file(draft / PREPROCESSOR_FILE))
    pixels = encoder.prepare_images([example.description for example in examples])

    def save_and_measure() -> None:
        save_checkpoint(model, draft)
        say(measure(encoder, examples, pixels))

    settings = TrainingSettings(steps=steps, logit_factor=10.0, **rates)
    second = Trainer(model_with_heads, compute_demo_loss, batches, settings, log=say)
    run_with_stops(second, folder / "captions.safetensors", measure_interval, save_and_measure)
    examples = choose_examples(EXAMPLES, first_seed=CALIBRATION_SEED)
    pixels = encoder.prepare_images([example.description for example in examples])
    model.logit_bias.data.fill_(find_bias(encoder, examples, pixels))
    save_checkpoint(model, draft)
    publish(draft, out)
    for state in folder.glob("*.safetensors"):
        state.unlink()  # the next run starts from nothing; only the images are kept
    say(f"{out}: {evaluate(out)}")


if __name__ == "__main__":
    main()
