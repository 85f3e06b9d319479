"""The vision tower: patches, encoder, attention pooling.

Letters in shapes: B batch, P patches, C hidden size = D dimension of an embedding, F values of a patch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model.attention import DEFAULT_ATTENTION, Trace, attend, make_attention_mask
from siglip_ingest.siglip.model.config import Siglip2VisionConfig, SiglipVisionConfig, VisionConfig
from siglip_ingest.siglip.model.layers import (
    Encoder,
    Mlp,
    init_lecun_normal,
    make_embedding,
    merge_heads,
    split_heads,
)
from siglip_ingest.siglip.model.naflex import NaflexEmbeddings


class VisionEmbeddings(nn.Module):
    """Cuts an image into patches, projects each, and adds a learned position."""

    def __init__(self, config: SiglipVisionConfig) -> None:
        super().__init__()
        self.image_size = config.image_size
        self.patches_per_side = config.patches_per_side
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )
        self.position_embedding = make_embedding(config.patches_per_side**2, config.hidden_size)

    def init_weights(self) -> None:
        """Draw new weights; the bias starts at 0."""
        init_lecun_normal(self.patch_embedding.weight)
        nn.init.zeros_(self.patch_embedding.bias)  # type: ignore[arg-type]  # our Conv2d has one
        nn.init.normal_(self.position_embedding.weight, std=self.position_embedding.embedding_dim**-0.5)

    def forward(self, pixel_values: Tensor, *, interpolate_pos_encoding: bool = False) -> Tensor:
        """Map pixel values (B, 3, height, width) to (B, P, C), patches in reading order.

        Args:
            pixel_values: Of `image_size`, unless positions are interpolated.
            interpolate_pos_encoding: Resize the learned positions (bicubic) to images of another size.
        """
        height, width = pixel_values.shape[2:]
        if not interpolate_pos_encoding and (height, width) != (self.image_size, self.image_size):
            raise InvalidInputError(
                f"Images of {height} x {width} pixels don't fit this model, which takes {self.image_size} x "
                f"{self.image_size}: resize them, or pass interpolate_pos_encoding=True."
            )
        patches = self.patch_embedding(pixel_values)  # (B, C, rows, columns)
        rows, columns = patches.shape[2:]
        positions = self.position_embedding.weight
        if (rows, columns) != (self.patches_per_side, self.patches_per_side) or height != width:
            grid = positions.T.reshape(1, -1, self.patches_per_side, self.patches_per_side)  # (1, C, side, side)
            resized = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
            positions = resized[0].flatten(1).T
        return patches.flatten(2).transpose(1, 2) + positions  # type: ignore[no-any-return]


class PoolingAttention(nn.Module):
    """Attention whose query, key and value projections lie in one matrix, as in `torch.nn.MultiheadAttention`."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def init_weights(self) -> None:
        """Draw new weights: Xavier uniform over the joint matrix, output as a plain linear layer, biases 0."""
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.in_proj_bias)
        init_lecun_normal(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, queries: Tensor, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let `queries` (B, M, C) look at `x` (B, P, C); returns (B, M, C)."""
        width = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        keys, values = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
        attended = attend(
            DEFAULT_ATTENTION,
            split_heads(F.linear(queries, weight[:width], bias[:width]), self.num_heads),
            split_heads(keys, self.num_heads),
            split_heads(values, self.num_heads),
            mask,
        )
        return self.out_proj(merge_heads(attended))  # type: ignore[no-any-return]


class PoolingHead(nn.Module):
    """MAP head: a learned probe attends over the patches, then an MLP ("Scaling Vision Transformers", section 3.2)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.empty(1, 1, config.hidden_size))
        self.attention = PoolingAttention(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def init_weights(self) -> None:
        """Draw a new probe; attention and MLP draw their own."""
        nn.init.xavier_uniform_(self.probe)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map (B, P, C) to (B, C); `mask` (B, 1, 1, P) is false for padding."""
        pooled = self.attention(self.probe.expand(x.shape[0], -1, -1), x, mask)
        pooled = pooled + self.mlp(self.layernorm(pooled))
        return pooled[:, 0]  # type: ignore[no-any-return]


class VisionModel(nn.Module):
    """Pixel values to image embeddings."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = _make_embeddings(config)
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = PoolingHead(config) if config.vision_use_head else None

    def encode(
        self,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        *,
        interpolate_pos_encoding: bool = False,
        trace: Trace | None = None,
    ) -> Tensor:
        """Map images to the last layer's normalised states (B, P, C).

        Args:
            pixel_values: Normalised pixels, by SigLIP's settings in [-1, 1]: (B, 3, height, width), or for NaFlex
                patches (B, P, F), padded.
            pixel_attention_mask: NaFlex only: (B, P), 1 for patches and 0 for padding; None where there is no padding.
            spatial_shapes: NaFlex only: (B, 2) int64, rows and columns of patches.
            interpolate_pos_encoding: Fixed size only: see `VisionEmbeddings`.
            trace: Gets the patch embeddings and each layer's output and weights appended, where given.
        """
        if isinstance(self.embeddings, NaflexEmbeddings):
            if spatial_shapes is None:
                raise InvalidInputError("A NaFlex model needs spatial_shapes: rows and columns of patches, (B, 2).")
            x = self.embeddings(pixel_values, spatial_shapes)
        else:
            x = self.embeddings(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        mask = make_attention_mask(pixel_attention_mask)
        return self.post_layernorm(self.encoder(x, mask=mask, trace=trace))  # type: ignore[no-any-return]

    def pool(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map normalised states (B, P, C) to embeddings (B, D), not normalised.

        Raises:
            InvalidInputError: If the tower has no pooling head.
        """
        if self.head is None:
            raise InvalidInputError("This vision tower has no pooling head (vision_use_head is false): no embeddings.")
        return self.head(states, mask)  # type: ignore[no-any-return]

    def forward(
        self, pixel_values: Tensor, pixel_attention_mask: Tensor | None = None, spatial_shapes: Tensor | None = None
    ) -> Tensor:
        """Map images, given as to `encode`, to embeddings (B, D), not normalised."""
        states = self.encode(pixel_values, pixel_attention_mask, spatial_shapes)
        return self.pool(states, make_attention_mask(pixel_attention_mask))


def _make_embeddings(config: VisionConfig) -> VisionEmbeddings | NaflexEmbeddings:
    match config:
        case Siglip2VisionConfig():
            return NaflexEmbeddings(config)
        case SiglipVisionConfig():
            return VisionEmbeddings(config)
    raise TypeError(f"{type(config).__name__} describes no vision tower.")
