"""A world that tests may change: its label sets, images and models; with a second checkpoint beside it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.world import write_images
from siglip_ingest.ingest import ImageSource
from tests.web.browser.gallery import World, open_client
from tests.web.conftest import run_server

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = 40


@dataclass(frozen=True)
class Workshop(World):
    """A world with the folder of another checkpoint."""

    other: Path


@contextmanager
def open_workshop(template_home: Path, folder: Path) -> Iterator[Workshop]:
    """Services, a worker and a server of their own; `drawn` has 40 images."""
    from siglip_ingest.web.app import create_app

    drawn = write_images(folder / "images", IMAGES, seed=71_000, size=(240, 180))
    with open_client(template_home, folder) as client:
        client.enqueue_images([ImageSource(image.path) for image in drawn], collection="drawn").wait()
        client.create_label_set("skies", ["sunset", "night sky", "storm"])
        with run_server(create_app(client)) as url:
            yield Workshop(url, client, folder, write_other_checkpoint(folder / "other"))


def write_other_checkpoint(folder: Path) -> Path:
    """The demo's checkpoint with some noise in its weights: it finds nearly the same."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(CHECKPOINT, folder)
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(1)
    for name, weight in weights.items():
        if weight.is_floating_point() and weight.numel() > 4:
            noise = torch.randn(weight.shape, generator=generator, dtype=torch.float32)
            weights[name] = (weight + 0.1 * weight.float().std() * noise).to(weight.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def find_violations(page: Page) -> list[str]:
    """What axe-core says against a page."""
    from axe_playwright_python.sync_playwright import Axe

    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"]]


def check_looks(page: Page, address: str, ready: str, *, waits_ms: int = 400) -> None:
    """A view, in the light and in the dark, is for everybody, and fits a phone's width."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.set_viewport_size({"width": 1200, "height": 800})
        page.goto(address)
        page.locator(ready).first.wait_for()
        page.wait_for_timeout(waits_ms)
        violations = find_violations(page)
        assert not violations, violations
    for width in (320, 390, 768):
        page.set_viewport_size({"width": width, "height": 700})
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
