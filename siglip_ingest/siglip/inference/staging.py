"""Brings a batch of images to the device while the one before is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class StagedPixels:
    """Images on the device, or on their way there.

    Attributes:
        pixels: (B, height, width, 3) uint8.
        arrival: Recorded behind the copy; None on the CPU, where nothing is copied.
        pinned: The copy's source, which lives as long as this.
    """

    pixels: Tensor
    arrival: torch.cuda.Event | None = None
    pinned: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    def receive(self) -> Tensor:
        """The images, once what is computed from them on the current stream waits for the copy."""
        if self.arrival is not None:
            stream = torch.cuda.current_stream(self.pixels.device)
            stream.wait_event(self.arrival)
            self.pixels.record_stream(stream)  # their memory was allocated for the copying stream
        return self.pixels


class Stager:
    """Copies batches to one device on a stream of its own, from pinned memory; on the CPU it only stacks them."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream | None = None

    def stage(self, pixels: Sequence[NDArray[np.uint8]]) -> StagedPixels:
        """Start to copy images of one size, each (height, width, 3) uint8; returns at once."""
        stacked = torch.from_numpy(np.stack(pixels))
        if self._device.type != "cuda":
            return StagedPixels(stacked)
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        pinned = stacked.pin_memory()
        with torch.cuda.stream(self._stream):
            copied = pinned.to(self._device, non_blocking=True)
            arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrival.record(self._stream)
        return StagedPixels(copied, arrival, pinned)
