"""Bounds how many decoded pixels several threads hold in memory at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from siglip_ingest.errors import InvalidInputError


class PixelBudget:
    """Bounds the decoded pixels that several threads hold. Thread-safe.

    Whoever came first goes first, so that small images don't keep a large one waiting for ever.

    Args:
        max_pixels: Most pixels at one time; an image of more is decoded while nobody else holds any. A pixel is 4 bytes
            in Pillow, and for a moment twice that while an image is turned or converted.
    """

    def __init__(self, max_pixels: int) -> None:
        if max_pixels < 1:
            raise InvalidInputError(f"A budget of pixels must be at least 1, not {max_pixels}.")
        self.max_pixels = max_pixels
        self._held = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def held_pixels(self) -> int:
        """Pixels that are held now; an image of more than `max_pixels` counts as `max_pixels`."""
        return self._held

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until an image of so many pixels fits beside the others, and hold its place during the block."""
        share = min(pixels, self.max_pixels)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is turn and self._held + share <= self.max_pixels)
                self._held += share
            finally:
                self._waiting.remove(turn)
                self._changed.notify_all()  # the next in line may fit too
        try:
            yield
        finally:
            with self._changed:
                self._held -= share
                self._changed.notify_all()
