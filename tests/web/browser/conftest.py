"""The gallery in Debian's Chromium, over a demo world of its own. One server and one browser for all tests.

Playwright runs an event loop in the main thread, so these tests have a process of their own: `make test-browser`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from siglip_ingest.demo.world import SKIES, write_images
from siglip_ingest.ingest import ImageSource
from tests.web.browser.gallery import Gallery, World, open_client, open_gallery
from tests.web.browser.workshop import Workshop, open_workshop
from tests.web.conftest import run_server

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
        reason = "playwright isn't installed: pip install '.[clients]'"
    if reason:
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def world(_template_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server that shows the demo world: `drawn` has 60 images, `many` copies of them, `broken` what is none."""
    from siglip_ingest.web.app import create_app

    folder = tmp_path_factory.mktemp("gallery")
    drawn = write_images(folder / "images", IMAGES, seed=70_000, size=(240, 180))
    with open_client(_template_home, folder) as client:
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
        with run_server(create_app(client)) as url:
            yield World(url, client, folder)


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
    with open_gallery(world, browser) as opened:
        yield opened
        shifts = opened.unexpected_shifts()
    assert not shifts


@pytest.fixture(scope="session")
def workshop(_template_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A world that tests may change."""
    with open_workshop(_template_home, tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@pytest.fixture
def views(workshop: Workshop, browser: Browser) -> Iterator[Gallery]:
    """The gallery of the workshop."""
    with open_gallery(workshop, browser) as opened:
        yield opened
