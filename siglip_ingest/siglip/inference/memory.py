"""Finds how many images fit into a device's memory at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch

from siglip_ingest.siglip.devices import is_out_of_memory

CPU_BATCH = 32  # a CPU takes a batch in passes of a few images, so that its size changes neither speed nor memory
LARGEST_BATCH = 256  # a GPU is busy well before
SHARE = 0.8  # of the free memory: what others take meanwhile, and what is lost between blocks, is left
_PROBES = (4, 16)  # images


def find_batch_size(device: torch.device, embed: Callable[[int], object]) -> int:
    """Find a batch that fits: a power of two, at most `LARGEST_BATCH`.

    Args:
        device: Where the model is, loaded. On CUDA two small batches measure what an image takes.
        embed: Embeds a batch of so many images.
    """
    if device.type != "cuda":
        return CPU_BATCH
    peaks = []
    for count in _PROBES:
        try:
            peaks.append(_measure_peak(device, lambda count=count: embed(count)))  # type: ignore[misc]
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return max(1, count // 4)
    per_image = max(1, (peaks[1] - peaks[0]) // (_PROBES[1] - _PROBES[0]))
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info(device)
    return fit_batch(free, per_image)


def fit_batch(free_bytes: int, bytes_per_image: int) -> int:
    """The largest power of two whose images fit into `SHARE` of the free memory; 1 where none does."""
    count = int(free_bytes * SHARE) // bytes_per_image
    return min(LARGEST_BATCH, 1 << max(0, count.bit_length() - 1))


def _measure_peak(device: torch.device, run: Callable[[], object]) -> int:
    """Bytes that a run takes on top of what is allocated already."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before
