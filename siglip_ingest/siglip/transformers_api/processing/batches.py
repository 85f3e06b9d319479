"""`BatchFeature`: a dictionary of arrays that a model takes as keyword arguments, and that moves to a device."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    import torch


class BatchFeature(UserDict[str, Any]):
    """Inputs of a model by name, which are attributes too."""

    def __init__(self, values: Mapping[str, Any] | None = None, tensor_type: str | None = None) -> None:
        """Take the inputs.

        Args:
            values: Lists or arrays, of which the first axis is the batch's.
            tensor_type: "pt" makes torch tensors of them, "np" numpy arrays, None leaves them.

        Raises:
            InvalidInputError: If rows of one input differ in length, or there is no such type.
        """
        super().__init__({name: to_tensor(name, rows, tensor_type) for name, rows in (values or {}).items()})

    def __getattr__(self, name: str) -> Any:
        if name == "data" or name not in self.data:
            raise AttributeError(f"There is no input {name!r}.")
        return self.data[name]

    def to(
        self,
        *places: torch.device | torch.dtype | str | int,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        non_blocking: bool = False,
    ) -> Self:
        """Move tensors to a device, and convert those of floating point to a dtype, as `Tensor.to`; returns itself.

        Args:
            places: A device and a dtype, in any order, or one of them.
            device: The device by name.
            dtype: The dtype by name.
            non_blocking: As in `Tensor.to`.

        Raises:
            ConfigurationError: If there is no such device.
        """
        import torch

        from siglip_ingest.siglip.transformers_api.models.placement import read_device

        device = next((place for place in places if not isinstance(place, torch.dtype)), device)
        device = None if device is None else read_device(device)
        dtype = next((place for place in places if isinstance(place, torch.dtype)), dtype)
        for name, value in self.data.items():
            if isinstance(value, torch.Tensor):
                new_dtype = dtype if dtype is not None and value.is_floating_point() else value.dtype
                self.data[name] = value.to(device or value.device, new_dtype, non_blocking=non_blocking)
        return self


def to_tensor(name: str, rows: Any, tensor_type: str | None) -> Any:
    """Turn rows of a batch into one tensor.

    Args:
        name: The input's, for messages.
        rows: Lists of numbers, or arrays, of one length.
        tensor_type: "pt", "np" or None, which leaves them.

    Raises:
        InvalidInputError: If they differ in length, or there is no such type.
    """
    kind = getattr(tensor_type, "value", tensor_type)  # transformers' own enumeration has the same names
    if kind is None:
        return rows
    if kind not in {"pt", "np"}:
        raise InvalidInputError(f"return_tensors must be 'pt', 'np' or None, not {tensor_type!r}.")
    shapes = sorted({np.shape(row) for row in rows})
    if len(shapes) > 1:
        hint = " Pass padding='max_length', truncation=True." if name == "input_ids" else ""
        raise InvalidInputError(
            f"{name} can't be one tensor: its rows have the shapes {shapes[0]}, {shapes[-1]}.{hint}"
        )
    array = np.asarray(rows)
    if kind == "np":
        return array
    import torch

    return torch.from_numpy(np.array(array))
