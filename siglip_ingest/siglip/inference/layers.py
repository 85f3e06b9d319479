"""Both towers' layers rearranged for inference: the same functions as in `model.layers`, with less work.

What is rearranged, all of it exact but for rounding:

* Rows. The positions of a batch lie one behind the other, (N, C), so every linear layer is one matrix product without
  padding. Attention runs over runs of sequences of equal length, without a mask.
* Projections. Queries, keys and values come from one product: x [W_q; W_k; W_v]^T.
* One query. Where a single query q looks at x (the probe of the pooling head; the last position of the last text layer,
  the only one that is pooled), keys and values are never computed. With head h's rows of W_k and W_v,
      softmax_n(q_h . (W_k,h x_n + b_k,h)) = softmax_n((W_k,h^T q_h) . x_n),
  for what is the same for every n cancels, and, because weights add up to 1,
      sum_n w_n (W_v,h x_n + b_v,h) = W_v,h (sum_n w_n x_n) + b_v,h.
  The probe is a constant, so is W_k,h^T q_h.
* Pixels. With u = pixel - 128, which every dtype holds exactly, pixel_values = (u + 128) * rescale / std - mean / std:
  the scale goes into the patch embedding's weight, the rest into its bias.

Letters in shapes: B sequences, N positions of all sequences, P positions of one, C hidden size, H heads, c = C / H,
D dimension of an embedding, F values of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.inference.linear import make_linear
from siglip_ingest.siglip.model.config import SiglipTextConfig, VisionConfig


@dataclass(frozen=True)
class Source:
    """A part of a checkpoint: the tensors whose names start with `prefix`, and what becomes of them.

    Attributes:
        reader: The checkpoint.
        prefix: Its part.
        device: Where the tensors go.
        dtype: What they are converted to.
        is_plain: See `make_linear`.
    """

    reader: WeightReader
    prefix: str
    device: torch.device
    dtype: torch.dtype
    is_plain: bool = False

    def read(self, name: str, *, dtype: torch.dtype | None = None) -> Tensor:
        """Read one tensor, in `dtype` if that isn't the part's."""
        return self.reader.read(f"{self.prefix}.{name}", device=self.device, dtype=dtype or self.dtype)

    def read_table(self, name: str) -> Tensor:
        """Read a tensor of which only some rows will be looked at.

        On the CPU it stays in the mapped file, in the file's dtype, so that other rows are never read: SigLIP 2's
        256,000 tokens are 800 MB, of which a text needs 200 kB.
        """
        if self.device.type == "cpu":
            return self.reader.read(f"{self.prefix}.{name}")
        return self.read(name)

    def part(self, name: str) -> Source:
        """Give a part of this part."""
        return replace(self, prefix=f"{self.prefix}.{name}")


class Run(NamedTuple):
    """Sequences of equal length that follow each other in the rows of a batch."""

    sequences: int
    positions: int


def find_runs(lengths: list[int]) -> list[Run]:
    """Join equal neighbours: the lengths of sequences to runs."""
    return [Run(len(list(same)), length) for length, same in groupby(lengths)]


def split_runs(x: Tensor, runs: list[Run]) -> list[Tensor]:
    """Cut rows (N, C) into one view (B, P, C) a run."""
    parts = torch.split(x, [run.sequences * run.positions for run in runs])
    return [part.view(*run, -1) for part, run in zip(parts, runs, strict=True)]


def join_rows(parts: list[Tensor]) -> Tensor:
    """Put parts one behind the other, without a copy where there is only one."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def constant(tensor: Tensor) -> nn.Parameter:
    """Make a tensor a parameter that isn't trained: torch.compile knows that those stay where they are."""
    return nn.Parameter(tensor, requires_grad=False)


def read_linear(source: Source, *names: str, activation: str | None = None) -> nn.Module:
    """Join the linear layers of these names into one, their outputs side by side."""
    weight, bias = (join_rows([source.read(f"{name}.{part}") for name in names]) for part in ("weight", "bias"))
    return make_linear(weight, bias, activation, is_plain=source.is_plain)


class LayerNorm(nn.Module):
    """Layer normalisation of each row."""

    def __init__(self, source: Source, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = constant(source.read("weight")), constant(source.read("bias"))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C) to (N, C)."""
        return F.layer_norm(x, self.bias.shape, self.weight, self.bias, self.eps)


class Mlp(nn.Module):
    """x + fc2(activation(fc1(norm(x))))."""

    def __init__(self, norm: Source, mlp: Source, config: SiglipTextConfig | VisionConfig) -> None:
        super().__init__()
        self.norm = LayerNorm(norm, config.layer_norm_eps)
        self.fc1 = read_linear(mlp, "fc1", activation=config.hidden_act)
        self.fc2 = read_linear(mlp, "fc2")

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C) to (N, C)."""
        return self.fc2(self.fc1(self.norm(x)), x)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """One layer of an encoder."""

    def __init__(self, source: Source, config: SiglipTextConfig | VisionConfig) -> None:
        super().__init__()
        attention = source.part("self_attn")
        self.num_heads = config.num_attention_heads
        self.norm = LayerNorm(source.part("layer_norm1"), config.layer_norm_eps)
        self.qkv = read_linear(attention, "q_proj", "k_proj", "v_proj")
        self.out = read_linear(attention, "out_proj")
        self.mlp = Mlp(source.part("layer_norm2"), source.part("mlp"), config)

    def forward(self, x: Tensor, runs: list[Run]) -> Tensor:
        """Map (N, C) to (N, C)."""
        attended = join_rows([self._attend(part) for part in split_runs(self.qkv(self.norm(x)), runs)])
        return self.mlp(self.out(attended, x))  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor) -> Tensor:
        """Map queries, keys and values (B, P, 3 C) to (B * P, C)."""
        sequences, positions, width = qkv.shape
        heads = qkv.view(sequences, positions, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, H, P, c)
        attended = F.scaled_dot_product_attention(*heads)
        return attended.transpose(1, 2).reshape(-1, width // 3)


class SingleQuery(nn.Module):
    """What one query a sequence sees, without keys and values (see the top of the file)."""

    def __init__(self, value_weight: Tensor, value_bias: Tensor, num_heads: int) -> None:
        super().__init__()
        self.value_weight = constant(value_weight.view(num_heads, -1, value_weight.shape[1]))  # (H, c, C)
        self.value_bias = constant(value_bias)

    def forward(self, query: Tensor, x: Tensor) -> Tensor:
        """Let queries (B or 1, H, C) from `move_query` look at x (B, P, C); returns (B, C)."""
        weights = (query @ x.transpose(1, 2)).softmax(dim=-1)  # (B, H, P)
        values: Tensor = torch.einsum("bhi,hci->bhc", weights @ x, self.value_weight)
        return values.flatten(1) + self.value_bias


def move_query(query: Tensor, key_weight: Tensor) -> Tensor:
    """Turn queries (B, C) into what x is compared with: W_k,h^T q_h / sqrt(c), (B, H, C); `key_weight` is (H, c, C)."""
    heads, width = key_weight.shape[:2]
    moved: Tensor = torch.einsum("bhc,hci->bhi", query.view(-1, heads, width), key_weight)
    return moved * width**-0.5  # type: ignore[no-any-return]
