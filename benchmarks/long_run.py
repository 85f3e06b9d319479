"""Many small images in one run: images a second, and the memory of each process at the start and at the end.

    python benchmarks/long_run.py                     # 100,000 images, demo checkpoint
    python benchmarks/long_run.py --images 10000

The images are 96 x 72 pixels, of a few thousand contents, each in files of its own, so that every image has its own
bytes: a comment in the file makes the difference. Memory is the proportional set size, in which a page that several
processes share counts for each of them with its part; it is read once the first 2,000 images are done, and at the end.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ingestion.processes import find_processes, started_workers
from PIL import Image

from siglip_ingest import SiglipClient
from siglip_ingest.demo.world import write_images
from siglip_ingest.services import EmbeddedServices
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint

DRAWN = 500
SIZE = (96, 72)
FIRST = 2000
FILES_PER_FOLDER = 1000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        run(Path(folder).resolve(), arguments.images)


def run(folder: Path, count: int) -> None:
    """Write the images, index them with one worker, and print."""
    checkpoint = resolve_checkpoint("demo")
    write_many_images(folder / "images", count + FIRST)
    folders = sorted((folder / "images").iterdir())
    first = FIRST // FILES_PER_FOLDER
    settings = Settings(home=folder / "home", model=str(checkpoint))
    with EmbeddedServices(settings) as services:
        urls = {"database_url": services.database_url, "broker_url": services.broker_url}
        with (
            started_workers(folder / "logs", checkpoint, 1, urls) as (pids, _),
            SiglipClient(**urls) as client,
        ):
            client.enqueue_images(folders[:first]).wait(progress=False)
            members = {
                "worker": pids,
                "PostgreSQL": find_processes("postgres", settings.home),
                "Redis": find_processes("redis-server", settings.home),
                "client": [0],
            }
            before = {name: memory_mb(group) for name, group in members.items()}
            started = time.perf_counter()
            ingestion = client.enqueue_images(folders[first:])
            queued_s = time.perf_counter() - started
            counts = ingestion.wait(progress=False)
            elapsed_s = time.perf_counter() - started
            members["PostgreSQL"] = find_processes("postgres", settings.home)
            after = {name: memory_mb(group) for name, group in members.items()}
    print(f"{counts}: {counts.done / elapsed_s:.1f} images/s; queueing alone took {queued_s:.1f} s")
    print("memory in MB    at the start   at the end")
    for name in members:
        print(f"{name:15} {before[name]:12.0f} {after[name]:12.0f}")


def write_many_images(folder: Path, count: int, size: tuple[int, int] = SIZE) -> None:
    """Write `count` files of different bytes."""
    drawn = folder.with_name("drawn")
    write_images(drawn, DRAWN, seed=70_000, size=size)
    contents = []
    for path in sorted(drawn.iterdir()):
        if path.suffix.lower() in {".jpg", ".jpeg", ".png"}:
            buffer = io.BytesIO()
            Image.open(path).convert("RGB").save(buffer, "JPEG", quality=85)
            contents.append(buffer.getvalue())
    for number in range(count):
        path = folder / f"{number // FILES_PER_FOLDER:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_with_comment(contents[number % len(contents)], f"{number}".encode()))


def _with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """Put a comment segment behind the first marker of a JPEG file."""
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def memory_mb(pids: Sequence[int]) -> float:
    """Proportional set size of processes together, in MB; 0 stands for this process."""
    return sum(_read_pss(pid) for pid in pids) / 1000


def _read_pss(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid or 'self'}/smaps_rollup").read_text()
    except OSError:
        return 0  # it has ended
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))


if __name__ == "__main__":
    main()
