"""What kept labels cost when images arrive: indexing with and without 100 of them, in turns, in one run.

    python benchmarks/kept_labels.py
    python benchmarks/kept_labels.py --images 500 --rounds 2

One worker with the demo checkpoint, the smallest model that there is, indexes images of 640 x 480 pixels, each with
bytes of its own; or of another width. The labels are what the demo world shows, one word each, and
pairs of it; the threshold is the usual 0.5.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from ingestion.processes import started_workers
from long_run import FILES_PER_FOLDER, write_many_images

from siglip_ingest import SiglipClient
from siglip_ingest.demo.words import GROUND_NOUNS, ITEM_NOUNS, SKY_NOUNS
from siglip_ingest.services import EmbeddedServices
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="a turn, in thousands")
    parser.add_argument("--labels", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pixels", type=int, default=640, help="width of the images; their height is 3/4 of it")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-bench-") as folder:
        turn = -(-arguments.images // FILES_PER_FOLDER)
        run(Path(folder).resolve(), turn, arguments.labels, arguments.rounds, arguments.pixels)


def run(folder: Path, folders_a_turn: int, label_count: int, rounds: int, pixels: int) -> None:
    """Index one part of the images after the other, by turns without and with kept labels."""
    checkpoint = resolve_checkpoint("demo")
    write_many_images(
        folder / "images", folders_a_turn * FILES_PER_FOLDER * (2 * rounds + 1), (pixels, pixels * 3 // 4)
    )
    parts = iter(sorted((folder / "images").iterdir()))
    skies, grounds, items = ([nouns[0] for nouns in words.values()] for words in (SKY_NOUNS, GROUND_NOUNS, ITEM_NOUNS))
    pairs = [f"{item} under a {sky}" for item in items for sky in skies] + [
        f"{item} and {ground}" for item in items for ground in grounds
    ]
    labels = [*skies, *grounds, *items, *pairs][:label_count]
    rows_an_image = 0.0
    times: dict[bool, list[float]] = {False: [], True: []}
    settings = Settings(home=folder / "home", model=str(checkpoint))
    with EmbeddedServices(settings) as services:
        urls = {"database_url": services.database_url, "broker_url": services.broker_url}
        with started_workers(folder / "logs", checkpoint, 1, urls), SiglipClient(**urls) as client:
            client.enqueue_images([next(parts) for _ in range(folders_a_turn)]).wait(progress=False)
            client.create_label_set("kept", labels)
            for number in range(2 * rounds):
                is_kept = number % 4 in {1, 2}
                with client.database.connection() as connection:
                    connection.execute("SELECT siglip.keep_labels('kept', %s)", [is_kept])
                settle(client)
                part = [next(parts) for _ in range(folders_a_turn)]
                started = time.perf_counter()
                client.enqueue_images(part).wait(progress=False)
                times[is_kept].append(time.perf_counter() - started)
                with client.database.connection() as connection:
                    row = connection.execute(
                        "SELECT count(*)::float / (SELECT count(*) FROM siglip.images) FROM siglip.image_labels"
                    ).fetchone()
                rows_an_image = max(rows_an_image, row[0] if row else 0)
    count = folders_a_turn * FILES_PER_FOLDER
    print(f"{count:,} images a turn, {rounds} turns each; {rows_an_image:.1f} of the labels an image")
    for is_kept, name in ((False, "without"), (True, f"with {len(labels)} kept labels")):
        print(f"{name:24} {count / median(times[is_kept]):8.1f} images/s (median)")
    print(f"time with / without: {median(times[True]) / median(times[False]):.3f}")


def settle(client: SiglipClient) -> None:
    """Wait until the worker has brought the labels up to date."""
    while True:
        with client.database.connection() as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM siglip.label_coverage WHERE state <> 'current')"
                " + (SELECT count(*) FROM siglip.label_progress WHERE NOT EXISTS ("
                "    SELECT FROM siglip.label_sets WHERE is_kept))"
                " + (SELECT count(*) FROM siglip.image_labels WHERE NOT EXISTS ("
                "    SELECT FROM siglip.label_sets WHERE is_kept))"
            ).fetchone()
        if row == (0,):
            return
        time.sleep(0.2)


if __name__ == "__main__":
    main()
