"""What tests do with the gallery, in a user's words."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.client import SiglipClient
from siglip_ingest.services import stop_services
from siglip_ingest.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Request, Route

# What moves on the page by itself; what a key or a click moves isn't meant.
WATCH = """
window.layoutShifts = [];
new PerformanceObserver((list) => {
  for (const { value, sources, hadRecentInput } of list.getEntries()) {
    if (!hadRecentInput) window.layoutShifts.push([value, sources.map(({ node }) => node?.className ?? String(node))]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""
DRAWN = "collection=drawn"


@dataclass(frozen=True)
class World:
    """A server, the client behind it, and the folder of the images."""

    url: str
    client: SiglipClient
    folder: Path

    @property
    def image(self) -> Path:
        """One of the images."""
        return min((self.folder / "images").iterdir())


@dataclass
class Gallery:
    """The page, and what its console said.

    `expected` are parts of complaints that a test brings about; `may_move` has the classes of elements that it moves.
    """

    page: Page
    world: World
    complaints: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    may_move: set[str] = field(default_factory=set)
    searches: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        def listen(request: Request) -> None:
            if request.url.endswith("/v1/search"):
                self.searches.append(json.loads(request.post_data or "{}"))

        self.page.on("request", listen)

    def unexpected_complaints(self) -> list[str]:
        return [each for each in self.complaints if not any(part in each for part in self.expected)]

    def unexpected_shifts(self) -> list[Any]:
        shifts = self.page.evaluate("window.layoutShifts ?? []")
        return [shift for shift in shifts if not set(shift[1]) <= self.may_move]

    def open(self, query: str = DRAWN) -> None:
        self.page.goto(f"/?{query}")

    @property
    def box(self) -> Locator:
        return self.page.get_by_role("textbox", name="Search images")

    @property
    def tiles(self) -> Locator:
        return self.page.get_by_role("gridcell")

    @property
    def lightbox(self) -> Locator:
        return self.page.locator("dialog.lightbox")

    def tile(self, index: int) -> Locator:
        return self.page.locator(f'[data-index="{index}"]')

    def names(self) -> list[str]:
        """The names of the tiles that are in the document, in order."""
        self.tiles.first.wait_for()
        return self.page.locator(".tile-name").all_inner_texts() or self.page.locator(".tile-name").all_text_contents()

    def selected(self) -> list[int]:
        tiles = self.page.locator('.tile[aria-selected="true"]').all()
        return sorted(int(tile.get_attribute("data-index") or -1) for tile in tiles)

    def query(self) -> str:
        """The query of the address."""
        return str(self.page.evaluate("decodeURIComponent(location.search.replaceAll('+', ' '))"))

    def last_search(self, is_it: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """What was searched for last, once it is what a test waits for."""
        for _ in range(200):
            if self.searches and is_it(self.searches[-1]):
                return self.searches[-1]
            self.page.wait_for_timeout(50)
        raise AssertionError(f"The last search was {self.searches[-1:]}")

    def search(self, act: Callable[[], Any]) -> dict[str, Any]:
        """Do something that searches: what was asked for."""
        count = len(self.searches)
        act()
        return self.last_search(lambda _: len(self.searches) > count)

    def answer(self, pattern: str, body: Any, status: int = 200) -> None:
        """Have the page get another answer than the server's."""

        def fulfill(route: Route) -> None:
            kind = "application/json" if status < 400 else "application/problem+json"
            route.fulfill(status=status, body=json.dumps(body), content_type=kind)

        if status >= 400:
            self.expected.append(f"status of {status}")
        self.page.route(pattern, fulfill)

    def transfer(self, file: Path, event: str, selector: str = "body") -> None:
        """Drop or paste a file."""
        content = list(file.read_bytes())
        self.page.evaluate(
            """([content, name, event, selector]) => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(content)], name, { type: "image/jpeg" }));
                const options = { bubbles: true, cancelable: true };
                const target = document.querySelector(selector);
                const made = event === "paste"
                    ? new ClipboardEvent(event, { ...options, clipboardData: transfer })
                    : new DragEvent(event, { ...options, dataTransfer: transfer });
                target.dispatchEvent(made);
            }""",
            [content, file.name, event, selector],
        )


def make_match(image_id: int, **fields: Any) -> dict[str, Any]:
    """A match as /v1/search tells it."""
    return {
        "image_id": image_id,
        "uri": f"file:///photos/{image_id}.jpg",
        "name": f"{image_id}.jpg",
        "collection": "photos",
        "key": None,
        "metadata": {},
        "width": 400,
        "height": 300,
        "format": "JPEG",
        "created_at": "2026-05-01T12:00:00Z",
        "state": "done",
        "error_code": None,
        "error_message": None,
        "thumbnail": f"/v1/images/{image_id}/thumbnail?v=1",
        "original": f"/v1/images/{image_id}/original?v=1",
        "similarity": 0.1,
        "score": 0.02,
        "duplicates": [],
        **fields,
    }


def make_page(*matches: dict[str, Any]) -> dict[str, Any]:
    """An answer of /v1/search."""
    return {"matches": list(matches), "next_cursor": None, "total": None, "took_ms": 1.0}


def make_png() -> bytes:
    """A small image."""
    from PIL import Image

    content = io.BytesIO()
    Image.new("RGB", (8, 6), (90, 120, 160)).save(content, "PNG")
    return content.getvalue()


@contextmanager
def open_client(template_home: Path, folder: Path) -> Iterator[SiglipClient]:
    """A client of the demo model with services of its own in a folder; they are stopped at the end."""
    home = folder / "home"
    subprocess.run(["cp", "-a", str(template_home), str(home)], check=True)
    client = SiglipClient(model="demo", home=home)
    try:
        yield client
    finally:
        client.close()
        stop_services(Settings(home=home))


@contextmanager
def open_gallery(world: World, browser: Browser) -> Iterator[Gallery]:
    """The gallery in a window of its own. Errors in its console fail the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 800}, base_url=world.url)
    context.set_default_timeout(10_000)
    context.add_init_script(WATCH)
    page = context.new_page()
    opened = Gallery(page, world)
    page.on("console", lambda message: message.type in {"error", "warning"} and opened.complaints.append(message.text))
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    yield opened
    page.unroute_all(behavior="ignoreErrors")
    context.close()
    complaints = opened.unexpected_complaints()
    assert not complaints, complaints
