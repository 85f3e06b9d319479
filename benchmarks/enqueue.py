"""How many local images a second are queued, with no worker running, and the memory that it takes.

    python benchmarks/enqueue.py                     # 200,000 files

A folder, a list of paths, the same folder once more (nothing has changed), and a generator of web addresses. The files
are a few bytes each: nobody opens them here.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from siglip_ingest import SiglipClient
from siglip_ingest.ingest import Ingestion
from siglip_ingest.services import EmbeddedServices
from siglip_ingest.settings import Settings

FILES_PER_FOLDER = 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    count = parser.parse_args().images
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as name:
        folder = Path(name).resolve()
        paths = write_files(folder / "images", count)
        with (
            EmbeddedServices(Settings(home=folder / "home", model="demo")) as services,
            SiglipClient(database_url=services.database_url, model="demo") as client,
        ):
            measure("a folder", count, lambda: client.enqueue_images(folder / "images", collection="folder"))
            measure(
                "the same folder again", count, lambda: client.enqueue_images(folder / "images", collection="folder")
            )
            measure("a list of paths", count, lambda: client.enqueue_images(paths, collection="list"))
            addresses = (f"https://example.org/{number}.jpg" for number in range(count))
            measure("a generator of addresses", count, lambda: client.enqueue_images(addresses, collection="generator"))


def write_files(folder: Path, count: int) -> list[str]:
    """Write `count` files; returns their paths."""
    paths = []
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)
        paths.append(str(path))
    return paths


def measure(name: str, count: int, enqueue: Callable[[], Ingestion]) -> None:
    """Run once, and print images a second and the largest memory of this process so far."""
    started = time.perf_counter()
    enqueue()
    rate = count / (time.perf_counter() - started)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{name + ':':28} {rate:8.0f} images/s; memory at most {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
