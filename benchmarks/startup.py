"""Seconds from the start of a process to its first embedding, beside `transformers`.

    python benchmarks/startup.py              # 7 processes of each kind
    python benchmarks/startup.py --quick      # 3

Each measurement is a new Python process: imports, tokenizer or image processor, weights, one embedding. Their files are
in memory already (the page cache), as on any machine where the model was used before. The checkpoint has
base-patch16-224's true sizes and random weights. The kinds take turns, and medians are printed. Theirs is measured
twice: with `AutoModel`, as its documentation shows, and with the class for one tower.

The checkpoint lies as in the hub's cache, where a folder's name is its revision. For any other folder that is the hash
of all its weights; an embedding doesn't wait for it, but `info` does, and so do clients and workers, which remember it
in SIGLIP_HOME. The last line has that hash in it; theirs has nothing like it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SNAPSHOT = "snapshots/" + "0" * 40

OURS = """
from pathlib import Path
from siglip_ingest.siglip.embedder import TorchEmbedder
embedder = TorchEmbedder.from_checkpoint(Path({folder!r}), name="base", device="cpu", dtype="float32")
"""
OUR_HASH = OURS + "vector = embedder.embed_texts(['two cats'])\nrevision = embedder.info.revision\n"
OUR_TEXT = OURS + "vector = embedder.embed_texts(['two cats'])\n"
OUR_IMAGE = "from PIL import Image\n" + OURS + "vector = embedder.embed_images([Image.open({image!r})])\n"

THEIRS = """
import torch
from PIL import Image
from transformers import {classes}
processor = AutoProcessor.from_pretrained({folder!r})
model = {model}.from_pretrained({folder!r})
"""
THEIR_TEXT_INPUTS = "inputs = processor(text=['two cats'], padding='max_length', return_tensors='pt')\n"
THEIR_IMAGE_INPUTS = "inputs = processor(images=[Image.open({image!r})], return_tensors='pt')\n"
RUN_WHOLE = "with torch.inference_mode(): vector = model.get_{kind}_features(**inputs).pooler_output\n"
RUN_TOWER = "with torch.inference_mode(): vector = model(**inputs).pooler_output\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="processes of each kind")
    parser.add_argument("--quick", action="store_true", help="3 processes of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as temporary:
        folder = Path(temporary) / SNAPSHOT
        write_checkpoint(folder)
        image = Path(temporary) / "image.jpg"
        write_image(image)
        plain = shutil.copytree(folder, Path(temporary) / "plain")
        programs = make_programs(str(folder), str(plain), str(image))
        times: dict[str, list[float]] = {name: [] for name in programs}
        for repeat in range((3 if arguments.quick else arguments.repeats) + 1):
            for name, program in programs.items():
                seconds = time_process(program)
                if repeat:  # the first of each warms the page cache
                    times[name].append(seconds)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    print("The checkpoint lies as in the hub's cache: no hash of its weights is in the time, but in the last line's.")
    for name, seconds in medians.items():
        ours = medians[f"{name.partition(',')[0]}, ours"]
        print(f"{name:55} {seconds:6.2f} s   {seconds / ours:5.2f} of ours")


def make_programs(folder: str, plain_folder: str, image: str) -> dict[str, str]:
    """Give each kind's name and program."""
    programs = {}
    for name, our_program, inputs, kind, tower in (
        ("first text", OUR_TEXT, THEIR_TEXT_INPUTS, "text", "SiglipTextModel"),
        ("first image", OUR_IMAGE, THEIR_IMAGE_INPUTS, "image", "SiglipVisionModel"),
    ):
        programs[f"{name}, ours"] = our_program
        for model, run in (("AutoModel", RUN_WHOLE), (tower, RUN_TOWER)):
            head = THEIRS.replace("{classes}", f"AutoProcessor, {model}").replace("{model}", model)
            programs[f"{name}, transformers' {model}"] = head + inputs + run.replace("{kind}", kind)
    programs["first text, ours with the revision of a plain folder"] = OUR_HASH.replace(
        "{folder!r}", repr(plain_folder)
    )
    return {
        name: text.replace("{folder!r}", repr(folder)).replace("{image!r}", repr(image)) + "assert vector is not None"
        for name, text in programs.items()
    }


def time_process(program: str) -> float:
    """Run a program in a new Python; seconds until it ends, without its own clean-up."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", program + "\nimport os; os._exit(0)"],
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def write_checkpoint(folder: Path) -> None:
    """Let transformers write base-patch16-224 with random weights, and put the demo's tokenizer beside it."""
    import transformers

    from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint

    shutil.copytree(resolve_checkpoint("demo"), folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    for name, key, value in (
        ("preprocessor_config.json", "size", {"height": 224, "width": 224}),
        ("tokenizer_config.json", "model_max_length", 64),
    ):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(settings | {key: value}))
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.SiglipModel(transformers.SiglipConfig()).save_pretrained(folder)


def write_image(path: Path) -> None:
    """Save a JPEG of 640 x 480 pixels."""
    from PIL import Image

    Image.effect_mandelbrot((640, 480), (-3.0, -2.5, 2.0, 2.5), 100).convert("RGB").save(path)


if __name__ == "__main__":
    main()
