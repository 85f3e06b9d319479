"""How many images fit into a device's memory."""

from __future__ import annotations

import pytest
import torch

from siglip_ingest.siglip.inference.memory import CPU_BATCH, find_batch_size, fit_batch

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "per_image", "expected"),
    [
        pytest.param(70 * GIB, 20 << 20, 256, id="a large device"),
        pytest.param(2 * GIB, 20 << 20, 64, id="what others left"),
        pytest.param(30 << 20, 20 << 20, 1, id="one image"),
        pytest.param(10 << 20, 20 << 20, 1, id="not even one: that is found out by trying"),
    ],
)
def test_a_batch_fills_most_of_the_memory(free: int, per_image: int, expected: int) -> None:
    assert fit_batch(free, per_image) == expected


def test_a_cpu_isn_t_measured() -> None:
    assert find_batch_size(torch.device("cpu"), lambda _: pytest.fail("it was")) == CPU_BATCH
