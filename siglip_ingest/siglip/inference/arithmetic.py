"""Chooses the arithmetic that a setting leaves open, by what is installed and what the processor is fast in."""

from __future__ import annotations

import json
import logging
import os
import platform
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from siglip_ingest import process
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.siglip.inference.int8 import find_missing_packages
from siglip_ingest.siglip.inference.linear import USUAL_ROWS, has_onednn, make_linear

logger = logging.getLogger(__name__)

CACHE_FILE = "cpu_arithmetic.json"
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})  # as /proc/cpuinfo writes them
MOST_OF_FLOAT32 = 0.9  # bfloat16 must take less than this share of float32's time
_WIDTHS = (768, 3072)  # of base-size models
_REPEATS = 5


class Arithmetic(NamedTuple):
    """What a model computes in.

    Attributes:
        dtype: One of `devices.DTYPES`; of the text tower alone where images go through int8.
        is_int8: Whether images do.
        is_required: Whether int8 was asked for, rather than found.
    """

    dtype: str
    is_int8: bool = False
    is_required: bool = False


def choose_arithmetic(name: str, device: torch.device, *, is_naflex: bool, cache: Path | None = None) -> Arithmetic:
    """Turn SIGLIP_DTYPE into what is computed in.

    Args:
        name: `auto`, `int8`, or one of `devices.DTYPES`.
        device: Where.
        is_naflex: Whether images have varying shapes; int8 is for those of one size.
        cache: Folder in which the outcome of measuring the processor is remembered, if it exists.

    Raises:
        ConfigurationError: If int8 is asked for and can't be had here.
    """
    if name not in {"auto", "int8"}:
        return Arithmetic(name)
    if name == "int8":
        _check_int8(device, is_naflex)
        return Arithmetic(choose_cpu_dtype(cache), is_int8=True, is_required=True)
    if device.type != "cpu":
        return Arithmetic("auto")
    return Arithmetic(choose_cpu_dtype(cache), is_int8=not is_naflex and not find_missing_packages())


def _check_int8(device: torch.device, is_naflex: bool) -> None:
    if device.type != "cpu":
        raise ConfigurationError(
            f"SIGLIP_DTYPE=int8 is for the CPU, but the device is {device}: set SIGLIP_DEVICE=cpu, or "
            "SIGLIP_DTYPE=auto, which is bfloat16 there."
        )
    if is_naflex:
        raise ConfigurationError(
            "SIGLIP_DTYPE=int8 is for models that take images of one size; this one is NaFlex, which takes any. Set "
            "SIGLIP_DTYPE=auto, bfloat16 or float32."
        )
    if missing := find_missing_packages():
        raise ConfigurationError(
            f"SIGLIP_DTYPE=int8 needs {' and '.join(missing)}, not installed here: {process.how_to_install('cpu')}. "
            "Or set SIGLIP_DTYPE=auto, which does without."
        )


def choose_cpu_dtype(cache: Path | None = None) -> str:
    """Say what this processor computes a tower fastest in: `bfloat16` where it has that in hardware, or `float32`.

    Measured once, in about 0.1 s, and remembered in `cache`, since a busy machine measures badly.
    """
    if not has_bfloat16():
        return "float32"
    key = "; ".join(
        (
            name_processor(), f"torch {torch.__version__}", torch.backends.cpu.get_cpu_capability(),
            f"{torch.get_num_threads()} threads", os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        )
    )  # fmt: skip
    known = _read_json(cache / CACHE_FILE) if cache else {}
    if known.get(key) not in {"float32", "bfloat16"}:
        known[key] = _measure()
        if cache and cache.is_dir():  # what is asked once makes no folder
            with suppress(OSError):
                partial = cache / f"{CACHE_FILE}.{os.getpid()}"
                partial.write_text(json.dumps(known), encoding="utf-8")
                partial.replace(cache / CACHE_FILE)
    return str(known[key])


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware, and torch is free to use that."""
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    return bool(BFLOAT16_FLAGS & _read_flags()) and has_onednn(torch.bfloat16)


@lru_cache(maxsize=1)
def _measure() -> str:
    times = {dtype: _time_layers(dtype) for dtype in (torch.float32, torch.bfloat16)}
    ratio = times[torch.bfloat16] / times[torch.float32]
    chosen = "bfloat16" if ratio < MOST_OF_FLOAT32 else "float32"
    logger.info("bfloat16 takes %.2f of float32's time on this CPU: it computes in %s.", ratio, chosen)
    return chosen


@torch.inference_mode()
def _time_layers(dtype: torch.dtype) -> float:
    """Seconds of two linear layers of a base-size model, of the fastest run."""
    narrow, wide = _WIDTHS
    layers = [
        make_linear(torch.full((outputs, inputs), 0.01, dtype=dtype), torch.zeros(outputs, dtype=dtype))
        for inputs, outputs in ((narrow, wide), (wide, narrow))
    ]
    times = []
    for _ in range(_REPEATS + 1):
        x = torch.ones(USUAL_ROWS, narrow, dtype=dtype)
        started = time.perf_counter()
        for layer in layers:
            x = layer(x)
        times.append(time.perf_counter() - started)
    return min(times[1:])


@lru_cache(maxsize=1)
def _read_flags() -> frozenset[str]:
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


@lru_cache(maxsize=1)
def name_processor() -> str:
    """The processor as its maker calls it."""
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
