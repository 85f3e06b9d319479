"""Places weights: the arguments `device_map` and `dtype` of `from_pretrained`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import CONSTANT_NAMES, TOWERS
from siglip_ingest.siglip.devices import DTYPES, choose_device

Device = str | int | torch.device
DeviceMap = Device | Mapping[str, Device] | None

_STORED_DTYPES = {"F64": torch.float64, "F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}
_logger = logging.getLogger(__name__)


def read_device(device: Device) -> torch.device:
    """Turn what documents pass as a device into one that is there: a name, a number, "auto" or torch's own.

    A number is that of an accelerator, and -1 the CPU; where there is none, it is the CPU too, with a warning.

    Raises:
        InvalidInputError: If torch knows no such device.
        ConfigurationError: If this machine has none.
    """
    accelerator = _find_accelerator()
    if device == "auto":
        return torch.device(accelerator or "cpu")
    if isinstance(device, int):
        if device >= 0 and accelerator is None:
            _logger.warning("There is no GPU for device=%d: computing on the CPU.", device)
        device = torch.device(accelerator, device) if device >= 0 and accelerator else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InvalidInputError(f"{device!r} is no device: {str(error).partition(chr(10))[0]}") from error
    return choose_device(wanted)


def place_parts(device_map: DeviceMap) -> dict[str, torch.device]:
    """Find the device of each part of a model, by the names `text_model`, `vision_model` and "" for all else.

    Args:
        device_map: A device for everything, "auto" included; or devices by part. None is torch's default device.

    Raises:
        InvalidInputError: If a part is smaller than a tower, or a tower has no device.
        ConfigurationError: If this machine has no such device.
    """
    if device_map is None:
        device_map = torch.get_default_device()
    if not isinstance(device_map, Mapping):
        return dict.fromkeys(("", *TOWERS), read_device(device_map))
    if unknown := device_map.keys() - {"", *TOWERS, *CONSTANT_NAMES, "classifier"}:
        raise InvalidInputError(f"device_map can place {', '.join(TOWERS)} as a whole, not {min(unknown)!r}.")
    rest = device_map.get("", device_map.get("text_model", device_map.get("vision_model")))
    if rest is None or ("" not in device_map and not device_map.keys() & set(TOWERS)):
        raise InvalidInputError(f"device_map must place {' and '.join(TOWERS)}, or everything under ''.")
    return {part: read_device(device_map.get(part, rest)) for part in ("", *TOWERS)}


def choose_dtype(dtype: torch.dtype | str | None, config: Mapping[str, Any], stored: str) -> torch.dtype:
    """Choose what weights are kept in.

    Args:
        dtype: torch's or its name; None or "auto" keeps the checkpoint's.
        config: The parsed config.json, which may say what the checkpoint's is.
        stored: Safetensors' name of what the weights are stored in, where the config doesn't say.

    Raises:
        InvalidInputError: If it is none that a model can compute in.
    """
    if dtype is None or dtype == "auto":
        dtype = config.get("dtype") or config.get("torch_dtype") or _STORED_DTYPES[stored]
    if isinstance(dtype, str):
        dtype = DTYPES.get(dtype.removeprefix("torch."), dtype)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise InvalidInputError(f"dtype must be one of {', '.join(DTYPES)} or 'auto', not {dtype!r}.")
    return dtype


def _find_accelerator() -> str | None:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else None
