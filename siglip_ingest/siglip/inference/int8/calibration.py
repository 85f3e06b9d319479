"""Looks at the numbers that enter each linear layer of a vision tower while known images pass it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.inference.towers import VisionTower


@dataclass(frozen=True)
class Calibration:
    """Images that stand for those to come.

    Attributes:
        name: Changes whenever the images do: a prepared model is kept by it.
        open_images: Opens them, of any size and mode.
    """

    name: str
    open_images: Callable[[], Iterable[Image.Image]]


class Observed(NamedTuple):
    """The least and the largest number that entered a linear layer, by channel: (C,) float32 each."""

    least: NDArray[np.float32]
    largest: NDArray[np.float32]


@contextmanager
def observe(tower: VisionTower) -> Iterator[Mapping[str, Observed]]:
    """Watch the encoder's linear layers during the block; gives what was seen, by the names of `name_layers`."""
    seen: dict[str, Observed] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            least, largest = (part.numpy() for part in torch.aminmax(inputs[0].flatten(0, -2), dim=0))
            if not (np.isfinite(least).all() and np.isfinite(largest).all()):
                raise CheckpointError(
                    "The model's vision tower computes numbers that aren't finite: its weights are damaged. Fetch the "
                    "checkpoint again."
                )
            if name in seen:
                least, largest = np.minimum(least, seen[name].least), np.maximum(largest, seen[name].largest)
            seen[name] = Observed(least, largest)

        return look

    handles = [module.register_forward_pre_hook(watch(name)) for name, module in name_layers(tower)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def name_layers(tower: VisionTower) -> Iterator[tuple[str, nn.Module]]:
    """The linear layers whose inputs are quantised, such as `3.fc2`."""
    for index, layer in enumerate(tower.layers):
        yield f"{index}.qkv", layer.qkv  # type: ignore[misc]
        yield f"{index}.out", layer.out  # type: ignore[misc]
        yield f"{index}.fc1", layer.mlp.fc1  # type: ignore[misc, union-attr]
        yield f"{index}.fc2", layer.mlp.fc2  # type: ignore[misc, union-attr]
