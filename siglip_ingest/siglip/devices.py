"""Chooses the torch device and dtype that a setting names."""

from __future__ import annotations

import logging

import torch

from siglip_ingest import process
from siglip_ingest.errors import ConfigurationError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def leave_inherited_threads() -> None:
    """Compute in one thread where the process was forked off from one that had torch.

    OpenMP's other threads are the parent's; GNU's implementation would wait for them for ever.
    """
    if process.has_inherited("torch") and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
        logger.info("This process was forked off from one that had loaded torch: it computes in one thread.")


def choose_device(name: str | torch.device) -> torch.device:
    """Turn a setting or an argument into a device that is there.

    Raises:
        ConfigurationError: If it isn't.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"There is no device {str(name)!r} on this machine ({reason}). Choose auto or cpu, as SIGLIP_DEVICE or "
            "where the device is passed."
        ) from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn a setting into a dtype.

    Raises:
        ConfigurationError: If it isn't one of `DTYPES`.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ConfigurationError(f"SIGLIP_DTYPE must be auto, int8, {', '.join(DTYPES)}, not {name!r}.")
    return DTYPES[name]


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell a lack of memory from other errors: CUDA's has a class, cuBLAS's and the CPU's only their words."""
    words = ("CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in words)


def is_compile_error(error: RuntimeError) -> bool:
    """Tell a failure of torch.compile itself from the model's."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
