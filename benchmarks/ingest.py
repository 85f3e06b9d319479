"""Images per second: end to end through the queue, beside decoding alone and the encoder alone, in one run.

    python benchmarks/ingest.py                           # the demo checkpoint: the pipeline is the limit
    python benchmarks/ingest.py --size base --images 64  # of base-patch16-224's size: the encoder is the limit

End to end is what a user sees: `enqueue_images` of a folder, ledger, Redis, Celery, a warm worker, decoding, embedding,
COPY, and the wait for the last item. Beside it stand the rates of the two stages alone, each alone on the machine.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from siglip_ingest import SiglipClient
from siglip_ingest.demo.world import write_images
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.siglip.checkpoint.loading import save_checkpoint
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from siglip_ingest.siglip.preprocess.image import decode_image

MAX_PIXELS = 200_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument(
        "--pixels", type=int, default=640, help="width of the images; their height is three quarters of it"
    )
    parser.add_argument("--size", choices=("demo", "base"), default="demo")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        measure(Path(folder), arguments.images, arguments.pixels, arguments.size)


def measure(folder: Path, count: int, pixels: int, size: str) -> None:
    """Draw `count` images, then time the three rates."""
    checkpoint = resolve_checkpoint("demo") if size == "demo" else write_base_checkpoint(folder / "base")
    images = folder / "images"
    write_images(images, count, seed=90_000, size=(pixels, pixels * 3 // 4))
    paths = sorted(path for path in images.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    print(
        f"{len(paths)} images of {pixels} x {pixels * 3 // 4}, {size} checkpoint, "
        f"{torch.get_num_threads()} torch threads, torch {torch.__version__}, Python {platform.python_version()}"
    )

    embedder = TorchEmbedder.from_checkpoint(checkpoint, name=str(checkpoint))

    def prepare(path: Path) -> np.ndarray:
        return embedder.prepare_image(decode_image(path.read_bytes(), max_image_pixels=MAX_PIXELS))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        pixel_arrays = list(pool.map(prepare, paths[:64]))
        decoding = rate("decoding and resizing alone", len(paths), lambda: list(pool.map(prepare, paths)))
    batch = np.stack([pixel_arrays[i % len(pixel_arrays)] for i in range(min(len(paths), 512))])
    embedder.embed_pixels(batch[:32])
    encoding = rate("encoder alone", len(batch), lambda: embedder.embed_pixels(batch))

    with SiglipClient(model=str(checkpoint) if size == "base" else "demo", home=folder / "home") as client:
        client.enqueue_images(paths[0], collection="warm-up").wait(progress=False)
        ending = rate("end to end", len(paths), lambda: client.enqueue_images(images).wait(progress=False))
    # Both stages share the same cores on a CPU: then their times add up.
    shared = 1 / (1 / decoding + 1 / encoding)
    print(f"end to end / encoder alone:                  {ending / encoding:8.2f}")
    print(f"end to end / the slower stage alone:         {ending / min(decoding, encoding):8.2f}")
    print(f"end to end / both stages on the same cores:  {ending / shared:8.2f}")


def rate(name: str, count: int, run: Callable[[], object]) -> float:
    """Run once, print and return images per second."""
    started = time.perf_counter()
    run()
    images_per_s = count / (time.perf_counter() - started)
    print(f"{name + ':':44} {images_per_s:8.1f} images/s")
    return images_per_s


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
