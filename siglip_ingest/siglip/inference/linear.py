"""Linear layers with prepacked weights and a fused activation.

On a CPU oneDNN can keep a weight in the order in which its matrix product reads it (torch.compile's "prepacking"), and
apply an activation or add a residual while a result is still in the cache. Both are exact. torch has this only as
operators without documentation (aten/src/ATen/native/mkldnn/Linear.cpp), so they are tried out before they are used.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.siglip.model.layers import ACTIVATIONS

# oneDNN chooses a weight's order for a number of rows; the order for about this many is good for 8 to 8,000 of them.
USUAL_ROWS = 256
# Our names of activations: oneDNN's operation and algorithm.
ONEDNN_ACTIVATIONS = {None: ("none", ""), "gelu_pytorch_tanh": ("gelu", "tanh"), "gelu": ("gelu", "none")}


class Linear(nn.Module):
    """activation(x W^T + b) + residual, one after the other."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (N, inputs) to (N, outputs); `residual` (N, outputs) is added."""
        y = F.linear(x, self.weight, self.bias)
        if self.activation is not None:
            y = ACTIVATIONS[self.activation](y)
        return y if residual is None else y + residual


class OneDnnLinear(nn.Module):
    """The same in one pass, from a weight in oneDNN's own order. An activation and a residual exclude each other."""

    def __init__(self, weight: Tensor, bias: Tensor, activation: str | None = None) -> None:
        super().__init__()
        self.operation, self.algorithm = ONEDNN_ACTIVATIONS[activation]
        self.register_buffer("weight", torch.ops.mkldnn._reorder_linear_weight(weight, USUAL_ROWS))
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Map (N, inputs) to (N, outputs); `residual` (N, outputs) is added."""
        linear = torch.ops.mkldnn._linear_pointwise
        if residual is not None:
            return linear.binary(x, residual, self.weight, self.bias, "add")  # type: ignore[no-any-return]
        return linear(x, self.weight, self.bias, self.operation, [], self.algorithm)  # type: ignore[no-any-return]


def make_linear(weight: Tensor, bias: Tensor, activation: str | None = None, *, is_plain: bool = False) -> nn.Module:
    """Make the fastest layer that the device has for a weight (outputs, inputs) and a bias (outputs).

    Args:
        weight: W.
        bias: b.
        activation: A key of `layers.ACTIVATIONS`, None for none.
        is_plain: Use torch's documented operators alone, which torch.compile understands.
    """
    if not is_plain and weight.device.type == "cpu" and has_onednn(weight.dtype):
        return OneDnnLinear(weight, bias, activation)
    return Linear(weight, bias, activation)


@lru_cache(maxsize=8)
def has_onednn(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN's operators are in this torch, know `dtype` on this CPU, and compute what they should."""
    if dtype not in {torch.float32, torch.bfloat16}:
        return False
    steps = [torch.linspace(-1.0, 1.0, count).to(dtype) for count in (2 * 32, 16 * 32, 16, 2 * 16)]
    x, weight, bias, residual = steps[0].view(2, 32), steps[1].view(16, 32), steps[2], steps[3].view(2, 16)
    tolerance = torch.finfo(dtype).eps ** 0.5
    try:
        for activation, added in ((None, None), (None, residual), *((name, None) for name in ACTIVATIONS)):
            found = OneDnnLinear(weight, bias, activation)(x, added).float()
            wanted = Linear(weight.float(), bias.float(), activation)(x.float(), added)
            if not torch.allclose(found, wanted, rtol=tolerance, atol=tolerance):
                return False
    except (AttributeError, RuntimeError, TypeError):  # other versions of torch lack them, or call them otherwise
        return False
    return True
