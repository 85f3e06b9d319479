"""Which caller gets the device next."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from siglip_workers import device
from siglip_workers.device import Device
from tests.programs import wait_until

PIXELS = [np.zeros((4, 4, 3), np.uint8)]


class HeldEmbedder:
    """Notes what comes onto the device, and keeps each until it is told to let go."""

    batch_size = 8

    def __init__(self) -> None:
        self.order: list[str] = []
        self.releases = {"images": threading.Semaphore(0), "query": threading.Semaphore(0)}

    def embed_pixels(self, pixels: object) -> Any:
        return self._run("images")

    embed_staged = embed_pixels

    def embed_texts(self, texts: object) -> Any:
        return self._run("query")

    def _run(self, what: str) -> Any:
        self.order.append(what)
        assert self.releases[what].acquire(timeout=60)
        return np.zeros((1, 2), np.float32)


def _start(target: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def test_a_query_goes_before_the_next_batch_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "MAX_DEFERENCE_S", 60.0)
    embedder = HeldEmbedder()
    shared = Device(embedder)  # type: ignore[arg-type]
    query = _start(lambda: shared.embed_texts(["boat"]))
    wait_until(lambda: embedder.order == ["query"])
    images = _start(lambda: shared.embed_pixels(PIXELS))
    images.join(0.3)  # time for a fault to show
    assert embedder.order == ["query"]
    embedder.releases["query"].release()
    wait_until(lambda: embedder.order == ["query", "images"])
    embedder.releases["images"].release()
    for thread in (query, images):
        thread.join(60)


def test_a_steady_stream_of_queries_does_not_stop_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "MAX_DEFERENCE_S", 0.05)
    embedder = HeldEmbedder()
    shared = Device(embedder)  # type: ignore[arg-type]
    query = _start(lambda: shared.embed_texts(["boat"]))
    wait_until(lambda: embedder.order == ["query"])
    images = _start(lambda: shared.embed_pixels(PIXELS))
    wait_until(lambda: embedder.order == ["query", "images"])
    for release in embedder.releases.values():
        release.release()
    for thread in (query, images):
        thread.join(60)
