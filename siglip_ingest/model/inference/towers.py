"""Both towers rearranged for inference: the same functions as in `layers`, `text` and `vision`, with less work.

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
  the scale goes into the patch embedding's weight, the rest into its bias, the bias into the position embeddings.

Letters in shapes: B sequences, N positions of all sequences, P positions of one, C hidden size, H heads, c = C / H,
D dimension of an embedding, F values of a patch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.model.config import SiglipTextConfig, VisionConfig
from siglip_ingest.model.inference.linear import make_linear
from siglip_ingest.model.naflex import resize_positions
from siglip_ingest.model.weights import WeightReader

PIXEL_CENTER = 128


class PixelSettings(Protocol):
    """How a checkpoint normalises pixels: pixel_values = (pixel * rescale_factor - image_mean) / image_std."""

    @property
    def rescale_factor(self) -> float:
        """Multiplies a pixel in [0, 255]."""

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Subtracted from each rescaled channel, red first."""

    @property
    def image_std(self) -> tuple[float, float, float]:
        """Divides each channel after that."""


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

    def __init__(self, value_weight: Tensor, value_bias: Tensor, out: nn.Module, num_heads: int) -> None:
        super().__init__()
        self.value_weight = constant(value_weight.view(num_heads, -1, value_weight.shape[1]))  # (H, c, C)
        self.value_bias = constant(value_bias)
        self.out = out

    def forward(self, query: Tensor, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Let queries (B or 1, H, C) from `move_query` look at x (B, P, C); returns (B, C), `residual` (B, C) added."""
        weights = (query @ x.transpose(1, 2)).softmax(dim=-1)  # (B, H, P)
        values = torch.einsum("bhi,hci->bhc", weights @ x, self.value_weight)
        return self.out(values.flatten(1) + self.value_bias, residual)  # type: ignore[no-any-return]


def move_query(query: Tensor, key_weight: Tensor) -> Tensor:
    """Turn queries (B, C) into what x is compared with: W_k,h^T q_h / sqrt(c), (B, H, C); `key_weight` is (H, c, C)."""
    heads, width = key_weight.shape[:2]
    moved: Tensor = torch.einsum("bhc,hci->bhi", query.view(-1, heads, width), key_weight)
    return moved * width**-0.5  # type: ignore[no-any-return]


class LastLayer(nn.Module):
    """The last layer of the text tower, at the last position alone, the only one that is pooled."""

    def __init__(self, source: Source, config: SiglipTextConfig) -> None:
        super().__init__()
        attention, heads = source.part("self_attn"), config.num_attention_heads
        self.norm = LayerNorm(source.part("layer_norm1"), config.layer_norm_eps)
        self.query = read_linear(attention, "q_proj")
        self.key_weight = constant(attention.read("k_proj.weight").view(heads, -1, config.hidden_size))
        values = attention.part("v_proj")
        self.attention = SingleQuery(
            values.read("weight"), values.read("bias"), read_linear(attention, "out_proj"), heads
        )
        self.mlp = Mlp(source.part("layer_norm2"), source.part("mlp"), config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, P, C) to (B, C)."""
        normed = self.norm(x)
        query = move_query(self.query(normed[:, -1]), self.key_weight)
        return self.mlp(self.attention(query, normed, x[:, -1]))  # type: ignore[no-any-return]


class PoolingHead(nn.Module):
    """The MAP head, whose query is a constant."""

    def __init__(self, source: Source, config: VisionConfig) -> None:
        super().__init__()
        attention = source.part("attention")
        # In float32: the probe and two projections in a row are rounded once instead of three times.
        probe = source.read("probe", dtype=torch.float32)[0]
        query_weight, key_weight, _ = attention.read("in_proj_weight", dtype=torch.float32).chunk(3)
        query_bias = attention.read("in_proj_bias", dtype=torch.float32).chunk(3)[0]
        key_weight = key_weight.view(config.num_attention_heads, -1, config.hidden_size)
        self.query = constant(move_query(F.linear(probe, query_weight, query_bias), key_weight).to(source.dtype))
        value_weight, value_bias = (attention.read(f"in_proj_{part}").chunk(3)[2] for part in ("weight", "bias"))
        self.attention = SingleQuery(
            value_weight.clone(), value_bias.clone(), read_linear(attention, "out_proj"), config.num_attention_heads
        )
        self.mlp = Mlp(source.part("layernorm"), source.part("mlp"), config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, P, C) to (B, C)."""
        return self.mlp(self.attention(self.query, x))  # type: ignore[no-any-return]


class TextTower(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, source: Source, config: SiglipTextConfig) -> None:
        super().__init__()
        *layers, last = (source.part(f"encoder.layers.{index}") for index in range(config.num_hidden_layers))
        self.tokens = constant(source.read("embeddings.token_embedding.weight"))
        self.positions = constant(source.read("embeddings.position_embedding.weight"))
        self.layers = nn.ModuleList(Layer(layer, config) for layer in layers)
        self.last_layer = LastLayer(last, config)
        self.norm = LayerNorm(source.part("final_layer_norm"), config.layer_norm_eps)
        self.head = read_linear(source, "head")

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids (B, L) to (B, D)."""
        run = Run(*input_ids.shape)
        x = (F.embedding(input_ids, self.tokens) + self.positions[: run.positions]).flatten(0, 1)
        for layer in self.layers:
            x = layer(x, [run])
        return self.head(self.norm(self.last_layer(x.view(*run, -1))))  # type: ignore[no-any-return]


class VisionTower(nn.Module):
    """Patches of pixels to embeddings."""

    def __init__(self, source: Source, config: VisionConfig, settings: PixelSettings) -> None:
        super().__init__()
        self.patch_embedding = _fold_normalization(source.part("embeddings.patch_embedding"), config, settings)
        self.positions = constant(source.read("embeddings.position_embedding.weight"))
        self.layers = nn.ModuleList(
            Layer(source.part(f"encoder.layers.{index}"), config) for index in range(config.num_hidden_layers)
        )
        self.norm = LayerNorm(source.part("post_layernorm"), config.layer_norm_eps)
        self.head = PoolingHead(source.part("head"), config)
        self.place = lru_cache(maxsize=1024)(self._place)

    def forward(self, patches: Tensor, positions: Tensor, runs: list[Run]) -> Tensor:
        """Map patches (N, F) uint8 and their positions' embeddings (N, C) to (B, D)."""
        x = self.patch_embedding(patches.to(positions.dtype) - PIXEL_CENTER, positions)
        for layer in self.layers:
            x = layer(x, runs)
        return join_rows([self.head(part) for part in split_runs(self.norm(x), runs)])

    def _place(self, rows: int, columns: int) -> Tensor:
        """Resize the learned grid of positions to a picture's (NaFlex): (rows * columns, C)."""
        return resize_positions(self.positions, rows, columns)


def constant(tensor: Tensor) -> nn.Parameter:
    """Make a tensor a parameter that isn't trained: torch.compile knows that those stay where they are."""
    return nn.Parameter(tensor, requires_grad=False)


def read_linear(source: Source, *names: str, activation: str | None = None) -> nn.Module:
    """Join the linear layers of these names into one, their outputs side by side."""
    weight, bias = (join_rows([source.read(f"{name}.{part}") for name in names]) for part in ("weight", "bias"))
    return make_linear(weight, bias, activation, is_plain=source.is_plain)


def _fold_normalization(source: Source, config: VisionConfig, settings: PixelSettings) -> nn.Module:
    """Make the layer from pixel - 128, patches in the order (row, column, channel), to the patch embeddings (N, C)."""
    weight, bias = (source.read(name, dtype=torch.float32) for name in ("weight", "bias"))
    if weight.ndim == 4:  # a convolution's: (C, channel, row, column)
        weight = weight.permute(0, 2, 3, 1).flatten(1)
    mean, std = weight.new_tensor(settings.image_mean), weight.new_tensor(settings.image_std)
    pixels = config.patch_size**2
    scale = (settings.rescale_factor / std).repeat(pixels)  # (F,)
    center = ((PIXEL_CENTER * settings.rescale_factor - mean) / std).repeat(pixels)
    weight, bias = weight * scale, bias + weight @ center
    return make_linear(weight.to(source.dtype), bias.to(source.dtype), is_plain=source.is_plain)
