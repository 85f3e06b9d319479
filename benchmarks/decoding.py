"""What decoding large JPEGs at a reduced scale gains, and what it changes.

    pip install scikit-image scikit-learn      # their wheels hold real photographs
    python benchmarks/decoding.py

For photographs as they are, and enlarged to 12 megapixels as cameras take them: images a second in one thread, all
pixels and reduced, and the smallest cosine between the vectors of the two, under the demo checkpoint. The sizes that
other models take are measured too, with the demo checkpoint at the end: what is decoded is resized to 224 or 384
pixels a side first.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.preprocess.decode import hold_decoded_image

SIDES = (64, 224, 384)
MEGAPIXELS = 12_000_000
PACKAGES = ("skimage", "sklearn")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    photographs = list(find_photographs())
    if not photographs:
        raise SystemExit("No photographs were found: pip install scikit-image scikit-learn")
    embedder = TorchEmbedder.from_checkpoint(resolve_checkpoint("demo"), name="demo")
    print(f"{len(photographs)} photographs, JPEG quality 90, one thread")
    print("size            resized to   all pixels/s   reduced/s   gain   smallest cosine   mean cosine")
    for name, enlarge in (("as they are", False), ("12 megapixels", True)):
        files = [encode(photograph, enlarge=enlarge) for photograph in photographs]
        for side in SIDES:
            compare(name, files, side, embedder, arguments.repeats)


def find_photographs() -> Iterator[Image.Image]:
    """Yield the photographs that installed packages hold."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for folder in () if spec is None else spec.submodule_search_locations or ():
            for path in sorted(Path(folder).rglob("*")):
                if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
                    image = Image.open(path)
                    if image.mode in {"RGB", "RGBA"} and min(image.size) >= 256:
                        yield image.convert("RGB")


def encode(photograph: Image.Image, *, enlarge: bool) -> bytes:
    """Write a photograph as a JPEG file, as it is or at 12 megapixels."""
    if enlarge:
        factor = (MEGAPIXELS / (photograph.width * photograph.height)) ** 0.5
        size = round(factor * photograph.width), round(factor * photograph.height)
        photograph = photograph.resize(size, Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    photograph.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def compare(name: str, files: Sequence[bytes], side: int, embedder: TorchEmbedder, repeats: int) -> None:
    """Time both ways, taking turns, and compare their vectors."""
    ways: list[Callable[[int, int], tuple[int, int]] | None] = [None, lambda _height, _width: (side, side)]
    seconds = [
        min(times)
        for times in zip(*([time_decoding(files, way, side) for way in ways] for _ in range(repeats)), strict=True)
    ]
    exact, reduced = ([decode(file, way, side) for file in files] for way in ways)
    cosines = (embedder.embed_images(exact) * embedder.embed_images(reduced)).sum(axis=1)
    rates = [len(files) / each for each in seconds]
    print(
        f"{name:15} {side:7} px {rates[0]:14.1f} {rates[1]:11.1f} {rates[1] / rates[0]:6.2f} {cosines.min():17.4f} "
        f"{np.mean(cosines):13.4f}"
    )


def time_decoding(files: Sequence[bytes], way: Callable[[int, int], tuple[int, int]] | None, side: int) -> float:
    """Seconds that it takes to decode and resize all files."""
    started = time.perf_counter()
    for file in files:
        decode(file, way, side)
    return time.perf_counter() - started


def decode(file: bytes, way: Callable[[int, int], tuple[int, int]] | None, side: int) -> Image.Image:
    """Decode a file and resize it to a square."""
    with hold_decoded_image(file, max_image_pixels=10**9, choose_size=way) as decoded:
        return decoded.image.resize((side, side), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
