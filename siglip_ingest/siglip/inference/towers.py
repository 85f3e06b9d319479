"""Both towers arranged for inference; layers.py explains the algebra."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.siglip.inference.layers import (
    Layer,
    LayerNorm,
    Mlp,
    Run,
    SingleQuery,
    Source,
    constant,
    join_rows,
    move_query,
    read_linear,
    split_runs,
)
from siglip_ingest.siglip.inference.linear import make_linear
from siglip_ingest.siglip.model.config import SiglipTextConfig, VisionConfig
from siglip_ingest.siglip.model.naflex import resize_positions

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


class TextTower(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, source: Source, config: SiglipTextConfig) -> None:
        super().__init__()
        *layers, last = (source.part(f"encoder.layers.{index}") for index in range(config.num_hidden_layers))
        self.tokens = constant(source.read_table("embeddings.token_embedding.weight"))
        self.positions = constant(source.read("embeddings.position_embedding.weight"))
        self.layers = nn.ModuleList(Layer(layer, config) for layer in layers)
        self.last_layer = LastLayer(last, config)
        self.norm = LayerNorm(source.part("final_layer_norm"), config.layer_norm_eps)
        self.head = read_linear(source, "head")

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids (B, L) to (B, D)."""
        run = Run(*input_ids.shape)
        tokens = F.embedding(input_ids, self.tokens).to(self.positions.dtype)
        x = (tokens + self.positions[: run.positions]).flatten(0, 1)
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
        self.place = lru_cache(maxsize=32)(self._place)  # of up to 5 MB each

    def forward(self, patches: Tensor, positions: Tensor, runs: list[Run]) -> Tensor:
        """Map patches (N, F) uint8 and their positions' embeddings (N, C) to (B, D)."""
        return self.encode(self.embed(patches, positions), runs)

    def embed(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Project patches (N, F) uint8 and add their positions' embeddings (N, C): (N, C)."""
        return self.patch_embedding(patches.to(positions.dtype) - PIXEL_CENTER, positions)  # type: ignore[no-any-return]

    def encode(self, x: Tensor, runs: list[Run]) -> Tensor:
        """Map projected patches (N, C) to (B, D)."""
        for layer in self.layers:
            x = layer(x, runs)
        return self.head(split_runs(self.norm(x), runs))  # type: ignore[no-any-return]

    def _place(self, rows: int, columns: int) -> Tensor:
        """Resize the learned grid of positions to an image's (NaFlex): (rows * columns, C)."""
        return resize_positions(self.positions, rows, columns)


def run_on_pixels(tower: VisionTower, pixels: Tensor, config: VisionConfig) -> Tensor:
    """Map pixels (B, height, width, 3) uint8 of the tower's device, whole patches, to (B, D)."""
    side, size = config.patches_per_side, config.patch_size
    # (B, rows, row, columns, column, 3), then patches in reading order
    cut = pixels.reshape(-1, side, size, side, size, 3).transpose(2, 3)
    positions = tower.positions.repeat(len(pixels), 1)
    return tower(cut.reshape(len(positions), -1), positions, [Run(len(pixels), side**2)])  # type: ignore[no-any-return]


class LastLayer(nn.Module):
    """The last layer of the text tower, at the last position alone, the only one that is pooled."""

    def __init__(self, source: Source, config: SiglipTextConfig) -> None:
        super().__init__()
        attention, heads = source.part("self_attn"), config.num_attention_heads
        self.norm = LayerNorm(source.part("layer_norm1"), config.layer_norm_eps)
        self.query = read_linear(attention, "q_proj")
        self.key_weight = constant(attention.read("k_proj.weight").view(heads, -1, config.hidden_size))
        values = attention.part("v_proj")
        self.attention = SingleQuery(values.read("weight"), values.read("bias"), heads)
        self.out = read_linear(attention, "out_proj")
        self.mlp = Mlp(source.part("layer_norm2"), source.part("mlp"), config)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, P, C) to (B, C)."""
        normed = self.norm(x)
        query = move_query(self.query(normed[:, -1]), self.key_weight)
        return self.mlp(self.out(self.attention(query, normed), x[:, -1]))  # type: ignore[no-any-return]


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
        self.attention = SingleQuery(value_weight, value_bias, config.num_attention_heads)
        self.out = read_linear(attention, "out_proj")
        self.mlp = Mlp(source.part("layernorm"), source.part("mlp"), config)

    def forward(self, runs: list[Tensor]) -> Tensor:
        """Map runs (B', P, C) of B sequences together to (B, C)."""
        attended = join_rows([self.attention(self.query, x) for x in runs])
        return self.mlp(self.out(attended))  # type: ignore[no-any-return]


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
