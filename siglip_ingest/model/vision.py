"""The vision tower: patches, encoder, attention pooling.

Letters in shapes: B batch, P patches, C hidden size = D dimension of an embedding.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.model.config import SiglipVisionConfig
from siglip_ingest.model.layers import (
    Encoder,
    Mlp,
    init_lecun_normal,
    make_embedding,
    merge_heads,
    split_heads,
)


class VisionEmbeddings(nn.Module):
    """Cuts an image into patches, projects each, and adds a learned position."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.position_embedding = make_embedding(config.patches_per_side**2, config.hidden_size)

    def init_weights(self) -> None:
        """Draw new weights; the bias starts at 0."""
        init_lecun_normal(self.patch_embedding.weight)
        nn.init.zeros_(self.patch_embedding.bias)  # type: ignore[arg-type]  # our Conv2d has one
        nn.init.normal_(self.position_embedding.weight, std=self.position_embedding.embedding_dim**-0.5)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Map pixel values (B, 3, height, width) to (B, P, C), patches in reading order."""
        patches = self.patch_embedding(pixel_values)  # (B, C, rows, columns)
        return patches.flatten(2).transpose(1, 2) + self.position_embedding.weight  # type: ignore[no-any-return]


class PoolingAttention(nn.Module):
    """Attention whose query, key and value projections lie in one matrix, as in `torch.nn.MultiheadAttention`."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.in_proj_weight = nn.Parameter(Tensor(3 * width, width))
        self.in_proj_bias = nn.Parameter(Tensor(3 * width))
        self.out_proj = nn.Linear(width, width)

    def init_weights(self) -> None:
        """Draw new weights: Xavier uniform over the joint matrix, output as a plain linear layer, biases 0."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)
        init_lecun_normal(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        """Let `queries` (B, M, C) look at `x` (B, P, C); returns (B, M, C)."""
        width = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        keys, values = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        attended = F.scaled_dot_product_attention(
            split_heads(F.linear(queries, weight[:width], bias[:width]), self.num_heads),
            split_heads(keys, self.num_heads),
            split_heads(values, self.num_heads),
        )
        return self.out_proj(merge_heads(attended))  # type: ignore[no-any-return]


class PoolingHead(nn.Module):
    """MAP head: a learned probe attends over the patches, then an MLP ("Scaling Vision Transformers", section 3.2)."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.probe = nn.Parameter(Tensor(1, 1, config.hidden_size))
        self.attention = PoolingAttention(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def init_weights(self) -> None:
        """Draw a new probe; attention and MLP draw their own."""
        nn.init.xavier_uniform_(self.probe)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, P, C) to (B, C)."""
        pooled = self.attention(self.probe.expand(x.shape[0], -1, -1), x)
        pooled = pooled + self.mlp(self.layernorm(pooled))
        return pooled[:, 0]  # type: ignore[no-any-return]


class VisionModel(nn.Module):
    """Pixel values to image embeddings."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = PoolingHead(config)

    def forward(self, pixel_values: Tensor, *, hidden_states: list[Tensor] | None = None) -> Tensor:
        """Map pixel values (B, 3, height, width) to embeddings (B, D), not normalised.

        Args:
            pixel_values: Normalised pixels, by SigLIP's settings in [-1, 1].
            hidden_states: Gets the patch embeddings and each layer's output appended, where given, each (B, P, C).
        """
        x = self.encoder(self.embeddings(pixel_values), hidden_states=hidden_states)
        return self.head(self.post_layernorm(x))  # type: ignore[no-any-return]
