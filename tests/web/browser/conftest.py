"""The gallery in Debian's Chromium, over a demo world of its own. One server and one browser for all tests.

Playwright runs an event loop in the main thread, so these tests have a process of their own: `make test-browser`.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siglip_ingest.client import SiglipClient
from siglip_ingest.demo.world import SKIES, write_images
from siglip_ingest.ingest import ImageSource
from siglip_ingest.services import stop_services
from siglip_ingest.settings import Settings
from tests.programs import wait_until
from tests.web.browser.gallery import WATCH, Gallery, World
from tests.web.browser.workshop import Workshop, open_views, open_workshop

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")
IMAGES = 60
COPIES = 3  # each image is in the collection `many` so many times: results fill several pages, and are near-duplicates


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all of this folder where there is no browser."""
    try:
        import playwright.sync_api  # noqa: F401

        reason = None if CHROMIUM else "there is no `chromium`: apt-get install chromium"
    except ModuleNotFoundError:
        reason = "playwright isn't installed: pip install '.[test]'"
    if reason:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def world(_template_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that shows the demo world: `drawn` has 60 images, `many` copies of them, `broken` what is none."""
    import uvicorn

    from siglip_ingest.web.app import create_app

    folder = tmp_path_factory.mktemp("gallery")
    home = folder / "home"
    subprocess.run(["cp", "-a", str(_template_home), str(home)], check=True)
    drawn = write_images(folder / "images", IMAGES, seed=70_000, size=(240, 180))
    client = SiglipClient(model="demo", home=home)
    try:
        sources = [ImageSource(image.path, metadata=image.attributes) for image in drawn]
        client.enqueue_images(sources, collection="drawn").wait()
        copies = []
        for number in range(COPIES):
            copy = shutil.copytree(folder / "images", folder / f"copy{number}")
            copies += [ImageSource(path) for path in sorted(copy.iterdir())]
        client.enqueue_images(copies, collection="many").wait()
        client.create_label_set("skies", list(SKIES))
        (folder / "broken.jpg").write_bytes(b"not an image")
        client.enqueue_images([folder / "broken.jpg"], collection="broken").wait()
        server = uvicorn.Server(uvicorn.Config(create_app(client), host="127.0.0.1", port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_until(lambda: server.started, timeout_s=20)
            port = server.servers[0].sockets[0].getsockname()[1]
            yield World(f"http://127.0.0.1:{port}", client, folder)
        finally:
            server.should_exit = True
            thread.join()
    finally:
        client.close()
        stop_services(Settings(home=home))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def gallery(world: World, browser: Browser) -> Iterator[Gallery]:
    """The gallery in a window of its own. Errors in its console, and what moves by itself, fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, base_url=world.url)
    context.set_default_timeout(10_000)
    context.add_init_script(WATCH)
    page = context.new_page()
    opened = Gallery(page, world)
    page.on("console", lambda message: message.type in {"error", "warning"} and opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    shifts = opened.unexpected_shifts()
    page.unroute_all(behavior="ignoreErrors")
    context.close()
    assert not opened.unexpected_complaints()
    assert not shifts


@pytest.fixture(scope="session")
def workshop(_template_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A world that tests may change."""
    with open_workshop(_template_home, tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@pytest.fixture
def views(workshop: Workshop, browser: Browser) -> Iterator[Gallery]:
    """The gallery of the workshop."""
    with open_views(workshop, browser) as opened:
        yield opened
