"""Takes the images of the gallery that README.md and docs/ show. Needs Debian's `chromium`.

    siglip-ingest demo --folder .demo && python -m tools.gallery_images

It serves the demo's images, asks for what the images show, and writes docs/gallery.webp and docs/gallery-phone.webp.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from PIL import Image

ROOT = Path(__file__).parents[1]
QUERY = "/?q=a+castle&part=-1*text:night+sky"
SHOTS: dict[str, dict[str, Any]] = {
    "gallery.webp": {"viewport": {"width": 1180, "height": 760}, "color_scheme": "light"},
    "gallery-phone.webp": {
        "viewport": {"width": 390, "height": 760},
        "color_scheme": "dark",
        "is_mobile": True,
        "has_touch": True,
    },
}


@contextmanager
def serve(home: Path) -> Iterator[str]:
    """The address of the gallery over the demo's data."""
    import uvicorn

    from siglip_ingest.client import SiglipClient
    from siglip_ingest.web.app import create_app

    client = SiglipClient(model="demo", home=home)
    server = uvicorn.Server(uvicorn.Config(create_app(client), host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True), default=ROOT / ".demo")
@click.option("--to", "target", type=click.Path(path_type=Path), default=ROOT / "docs")
def main(folder: Path, target: Path) -> None:
    """Write the images of the gallery over the demo in FOLDER."""
    from playwright.sync_api import sync_playwright

    with serve((folder / ".siglip-ingest-demo").absolute()) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, options in SHOTS.items():
            page = browser.new_page(**options, device_scale_factor=2, base_url=url)
            page.goto(QUERY)
            page.wait_for_selector(".tile-image.is-there")
            page.keyboard.press("Escape")
            if "is_mobile" not in options:
                page.hover('[data-index="1"]')
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(500)
            with Image.open(io.BytesIO(page.screenshot())) as image:
                image.convert("RGB").save(target / name, "WEBP", quality=72, method=6)
            click.echo(f"{target / name}: {(target / name).stat().st_size / 1000:.0f} kB")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
