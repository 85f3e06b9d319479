"""How soon the gallery shows results after the last key, and whether anything on it moves by itself.

    python benchmarks/gallery.py [--images 10000] [--queries 20]

Images of the demo world, each drawn scene in a number of crops; a crop's vector is its scene's, moved a little, and
imported. Files and thumbnails are real, and no thumbnail is there before it is shown. Debian's `chromium` types queries
that were never asked; the time goes from its last key, the debounce included, to the frame after the first results, and
after the thumbnails of the first row, are in the document. Everything is in a temporary folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uvicorn
from demo_texts import FIRST_SEED, embed_images
from engine.measuring import CONTEXT, print_table, print_title
from engine.server import count_cores
from playwright.sync_api import sync_playwright

from siglip_ingest.client import SiglipClient
from siglip_ingest.demo.captions import write_caption
from siglip_ingest.demo.description import describe_scene
from siglip_ingest.demo.world import render_scene
from siglip_ingest.web.app import create_app

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Page

CROPS = 40  # of a scene
CHUNK = 25
DISTANCE = 0.35  # length of what is added to a crop's vector
KEY_MS = 25  # between two keys: faster than the page's debounce
WATCH = """
window.layoutShift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.layoutShift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
addEventListener("input", ({ target }) => {
  const began = performance.now();
  const isShown = () => {  // and not what an earlier key asked for
    const { request } = document.querySelector(".grid").dataset;
    return request && JSON.parse(request).query === target.value.trim() && document.querySelector(".tile");
  };
  const times = (window.times = { began });
  const painted = (name) => setTimeout(() => { times[name] = performance.now() - began; });
  const look = () => {
    if (times !== window.times) return;
    if (!times.hasTiles && isShown()) {
      times.hasTiles = true;
      painted("tiles");
    }
    const images = [...document.querySelectorAll(".row:first-child .tile-image")];
    if (times.hasTiles && images.length && images.every((image) => image.classList.contains("is-there"))) {
      painted("images");
      return;
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}, true);
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="siglip-gallery-") as name:
        folder = Path(name)
        began = time.perf_counter()
        write_world(folder, arguments.images)
        with SiglipClient(model="demo", home=folder / "home") as client:
            client.import_vectors(folder / "vectors.npy", folder / "items.jsonl", model="demo", progress=False)
            print(f"{arguments.images:,} images after {time.perf_counter() - began:.0f} s")
            report(client, write_queries(arguments.queries + 1))


def write_world(folder: Path, count: int) -> None:
    """Write images, vectors.npy and items.jsonl."""
    (folder / "images").mkdir()
    scenes = -(-count // CROPS)
    starts = range(FIRST_SEED, FIRST_SEED + scenes, CHUNK)
    with ProcessPoolExecutor(count_cores(), mp_context=CONTEXT) as pool:
        vectors = np.concatenate(list(pool.map(embed_images, starts, repeat(CHUNK))))[:scenes]
        items = [item for chunk in pool.map(draw, starts, repeat(folder / "images")) for item in chunk][:count]
    np.save(folder / "vectors.npy", spread(vectors.astype(np.float32))[:count])
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(item)}\n" for item in items))


def spread(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors of crops, (N * CROPS, D) unit vectors from (N, D)."""
    moved = np.repeat(vectors, CROPS, axis=0)
    noise = np.random.default_rng(1).standard_normal(moved.shape, dtype=np.float32)
    moved += DISTANCE * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def draw(first_seed: int, folder: Path) -> list[dict[str, Any]]:
    """A process's part: files, and what is known of them."""
    items = []
    for seed in range(first_seed, first_seed + CHUNK):
        scene = render_scene(seed)
        rng = random.Random(seed)
        for number in range(CROPS):
            left, top = rng.randrange(40), rng.randrange(40)
            crop = scene.image.crop((left, top, left + 344 - rng.randrange(80), top + 248))
            path = folder / f"{seed}-{number}.jpg"
            crop.save(path, "JPEG", quality=80)
            items.append(
                {
                    "uri": path.as_uri(),
                    "content_hash": hashlib.sha256(path.read_bytes()).hexdigest(),
                    "width": crop.width,
                    "height": crop.height,
                    "format": "JPEG",
                    "metadata": scene.attributes,
                }
            )
    return items


def write_queries(count: int) -> list[str]:
    """Captions of other scenes, which say a part of what these show; all different."""
    rng = random.Random(2)
    seeds = range(FIRST_SEED - 10 * count, FIRST_SEED)
    captions = {write_caption(describe_scene(seed), rng, is_partial=True).text for seed in seeds}
    return sorted(captions, key=lambda text: hashlib.sha256(text.encode()).digest())[:count]


def report(client: SiglipClient, queries: list[str]) -> None:
    """Serve, type, and print."""
    server = uvicorn.Server(uvicorn.Config(create_app(client), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.add_init_script(WATCH)
            page.goto(url)
            page.wait_for_selector(".tile-image.is-there")
            type_query(page, queries[0])  # the first loads the text tower
            times = [type_query(page, query) for query in queries[1:]]
            shift = page.evaluate("window.layoutShift")
            browser.close()
    finally:
        server.should_exit = True
        thread.join()
    print_title(f"From the last key to the screen, {len(times)} new queries")
    rows = [
        (what, f"{np.nanmedian(values):.0f}", f"{np.nanmax(values):.0f}")
        for what, values in (
            ("(the server alone)", [each["server"] for each in times]),
            ("results", [each["tiles"] for each in times]),
            ("and the first row's thumbnails, made then", [each["images"] for each in times]),
        )
    ]
    print_table(("shown", "median ms", "worst ms"), rows)
    print(f"layout shift: {shift:g}")


def type_query(page: Page, query: str) -> dict[str, float]:
    """Milliseconds until `tiles` and `images` of a query are painted, and what the `server` says it took."""
    page.get_by_role("textbox", name="Search images").select_text()
    page.keyboard.type(query, delay=KEY_MS)
    page.wait_for_function("() => window.times?.images !== undefined", timeout=60_000)
    page.wait_for_timeout(200)
    took = "".join(filter(str.isdigit, page.locator(".took").text_content() or ""))
    return {**page.evaluate("window.times"), "server": float(took or "nan")}


if __name__ == "__main__":
    main()
