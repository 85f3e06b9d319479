"""Images per second: end to end through the queue, beside each stage alone, and where the rest of the time goes.

    python benchmarks/ingest.py                 # the demo checkpoint and base-patch16-224's size, 1 and 2 workers
    python benchmarks/ingest.py --sizes demo --images 3000

End to end is what a user sees: `enqueue_images` of a folder, ledger, warm workers, reading, decoding, embedding, COPY,
and the wait for the last item. Beside it stand the rates of the two stages alone, each alone on the machine. On a CPU
they share the cores, so that their times add up: that sum is the limit that the stages leave.

The table of milliseconds is the time of all cores together, an image, as the kernel counted it for each process. What
decoding and the encoder take is measured alone, and subtracted from what the workers took; "idle" is what no process
of this benchmark used, other programs' time included.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from ingestion.processes import cpu_seconds, find_processes, started_workers

from siglip_ingest import SiglipClient
from siglip_ingest.demo.world import write_images
from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.services import EmbeddedServices
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.siglip.checkpoint.loading import save_checkpoint
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from siglip_ingest.siglip.preprocess.image import hold_decoded_image

MAX_PIXELS = 200_000_000
CORES = len(os.sched_getaffinity(0))
IMAGES = {"demo": 3000, "base": 256}
WARM_UP = 64
BATCH_SIZES = (8, 32)  # what is faster depends on the processor's caches; workers choose by the time that a batch takes
_BUSY = re.compile(r"Embedded (\d+) images in ([\d.]+) s \(.*encoder busy (\d+) %")


@dataclass(frozen=True)
class Stage:
    """A stage alone: images a second, and milliseconds of all cores together an image."""

    rate: float
    cpu_ms: float


@dataclass(frozen=True)
class Whole:
    """All of it: images a second, milliseconds of all cores an image by process, percent of time that encoders ran."""

    rate: float
    cpu_ms: dict[str, float]
    busy: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=tuple(IMAGES), default=list(IMAGES))
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--images", type=int, help=f"by default {IMAGES}")
    parser.add_argument("--pixels", type=int, default=640, help="width of the images; their height is 3/4 of it")
    parser.add_argument("--dtype", default="auto", help="SIGLIP_DTYPE of the workers and of the encoder alone")
    arguments = parser.parse_args()
    print(f"{CORES} cores, torch {torch.__version__}, Python {platform.python_version()}")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
            count = arguments.images or IMAGES[size]
            measure(Path(folder), count, arguments.pixels, size, arguments.workers, arguments.dtype)


def measure(folder: Path, count: int, pixels: int, size: str, workers: Sequence[int], dtype: str) -> None:
    """Draw `count` images, then time the stages alone and all of it with each number of workers."""
    checkpoint = resolve_checkpoint("demo") if size == "demo" else write_base_checkpoint(folder / "base")
    images = folder / "images"
    write_images(images, count, seed=90_000, size=(pixels, pixels * 3 // 4))
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    embedder = load_embedder(str(checkpoint), Settings(dtype=dtype), may_prepare=True)
    embedder.load()
    print(f"\n{size}: {len(paths)} images of {pixels} x {pixels * 3 // 4}, {embedder.arithmetic}")
    for number in workers:
        compare(folder / f"{number}", checkpoint, images, paths, number, dtype, embedder)


def compare(
    folder: Path,
    checkpoint: Path,
    images: Path,
    paths: Sequence[Path],
    number: int,
    dtype: str,
    embedder: TorchEmbedder,
) -> None:
    """Time the stages alone, all of it with so many workers, and the stages once more: the machine's speed changes."""
    before = time_stages(embedder, paths)
    whole = time_end_to_end(folder, checkpoint, images, paths, number, dtype)
    after = time_stages(embedder, paths)
    decoding, encoding = (average(*pair) for pair in zip(before, after, strict=True))
    limit = 1 / (1 / decoding.rate + 1 / encoding.rate)
    print(f"  {'decoding and resizing alone':34} {decoding.rate:8.1f} images/s")
    print(f"  {'encoder alone':34} {encoding.rate:8.1f} images/s")
    print(f"  {'what both leave on the same cores':34} {limit:8.1f} images/s")
    print(
        f"  {f'end to end, {number} worker(s)':34} {whole.rate:8.1f} images/s: {whole.rate / limit:.2f} of that; "
        f"encoder busy {whole.busy:.0f} %"
    )
    rows = {
        "decoding": decoding.cpu_ms,
        "encoder": encoding.cpu_ms,
        "rest of the workers (Python, COPY)": whole.cpu_ms["workers"] - decoding.cpu_ms - encoding.cpu_ms,
        **{name: milliseconds for name, milliseconds in whole.cpu_ms.items() if name != "workers"},
    }
    rows["idle"] = 1000 * CORES / whole.rate - sum(rows.values())
    for name, milliseconds in rows.items():
        print(f"      {name:34} {milliseconds:8.3f} ms")


def average(first: Stage, second: Stage) -> Stage:
    """The stage as it was on average."""
    return Stage(2 / (1 / first.rate + 1 / second.rate), (first.cpu_ms + second.cpu_ms) / 2)


def time_stages(embedder: TorchEmbedder, paths: Sequence[Path]) -> tuple[Stage, Stage]:
    """Time decoding alone, as workers do it, in as many threads as there are cores, and the encoder alone."""

    def prepare(path: Path) -> np.ndarray:
        content = path.read_bytes()
        with hold_decoded_image(content, max_image_pixels=MAX_PIXELS, choose_size=embedder.choose_size) as decoded:
            return embedder.prepare_image(decoded.image)

    with ThreadPoolExecutor(CORES) as pool:
        pixel_arrays = list(pool.map(prepare, paths[:64]))
        decoding = time_stage(len(paths), lambda: list(pool.map(prepare, paths)))
    batch = [pixel_arrays[i % len(pixel_arrays)] for i in range(min(max(64, len(paths) // 3), 1024))]
    embedder.embed_pixels(batch[:32])
    ways = [time_stage(len(batch), partial(embed_in_batches, embedder, batch, size)) for size in BATCH_SIZES]
    return decoding, max(ways, key=lambda stage: stage.rate)


def embed_in_batches(embedder: TorchEmbedder, pixels: Sequence[np.ndarray], size: int) -> None:
    """Embed prepared images, so many at a time."""
    for start in range(0, len(pixels), size):
        embedder.embed_pixels(pixels[start : start + size])


def time_stage(count: int, run: Callable[[], object]) -> Stage:
    """Run once."""
    cpu_s, started = time.process_time(), time.perf_counter()
    run()
    elapsed_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
    return Stage(count / elapsed_s, 1000 * cpu_s / count)


def time_end_to_end(
    folder: Path, checkpoint: Path, images: Path, paths: Sequence[Path], number: int, dtype: str
) -> Whole:
    """Index the folder with so many workers."""
    settings = Settings(home=(folder / "home").resolve(), model=str(checkpoint))
    with EmbeddedServices(settings) as services:
        urls = {"database_url": services.database_url, "broker_url": services.broker_url}
        with (
            started_workers(folder / "logs", checkpoint, number, {**urls, "dtype": dtype}) as (pids, logs),
            SiglipClient(**urls) as client,
        ):
            client.enqueue_images(paths[:WARM_UP], collection="warm-up").wait(progress=False)
            for log in logs:
                log.write_text("")
            groups = {
                "workers": pids,
                "PostgreSQL": find_processes("postgres", settings.home),
                "Redis": find_processes("redis-server", settings.home),
            }
            before = {name: cpu_seconds(members) for name, members in groups.items()}
            client_s, started = time.process_time(), time.perf_counter()
            client.enqueue_images(images).wait(progress=False)
            elapsed_s, client_s = time.perf_counter() - started, time.process_time() - client_s
            used_s = {name: cpu_seconds(members) - before[name] for name, members in groups.items()}
            used_s["the client"] = client_s
            busy = read_busy_share(logs)
    count = len(paths)
    return Whole(count / elapsed_s, {name: 1000 * seconds / count for name, seconds in used_s.items()}, busy)


def read_busy_share(logs: Sequence[Path]) -> float:
    """The share of the time that the encoders were busy, in percent, as the workers logged it."""
    shares = [
        (float(seconds), int(share))
        for log in logs
        for _, seconds, share in _BUSY.findall(log.read_text().replace("\0", ""))
    ]
    return sum(seconds * share for seconds, share in shares) / max(1e-9, sum(seconds for seconds, _ in shares))


def write_base_checkpoint(folder: Path) -> Path:
    """A base-patch16-224 with random weights and the demo's tokenizer files: as fast as the real one, and as large."""
    import json
    import shutil

    shutil.copytree(resolve_checkpoint("demo"), folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["size"] = {"height": 224, "width": 224}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    model = SiglipModel(SiglipConfig.from_dict({}))
    model.init_weights()
    save_checkpoint(model, folder, dtype=torch.float32)
    return folder


if __name__ == "__main__":
    main()
