"""NaFlex's patch embeddings: images of any shape, with positions resized to each ("SigLIP 2", section 2.4.2).

Letters in shapes: B batch, P patches with padding, C hidden size, F values of a patch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model.config import Siglip2VisionConfig
from siglip_ingest.siglip.model.layers import init_lecun_normal, make_embedding


class NaflexEmbeddings(nn.Module):
    """Projects patches, and adds a learned grid of positions resized to the image's rows and columns."""

    def __init__(self, config: Siglip2VisionConfig) -> None:
        super().__init__()
        self.patch_embedding = nn.Linear(config.values_per_patch, config.hidden_size)
        self.position_embedding = make_embedding(config.num_patches, config.hidden_size)

    def init_weights(self) -> None:
        """Draw new weights; the bias starts at 0."""
        init_lecun_normal(self.patch_embedding.weight)
        nn.init.zeros_(self.patch_embedding.bias)
        nn.init.normal_(self.position_embedding.weight, std=self.position_embedding.embedding_dim**-0.5)

    def forward(self, patches: Tensor, spatial_shapes: Tensor) -> Tensor:
        """Map padded patches (B, P, F) to (B, P, C).

        Args:
            patches: Normalised; what stands behind an image's rows * columns patches is padding.
            spatial_shapes: (B, 2) int64, rows and columns of patches.

        Raises:
            InvalidInputError: If an image has more patches than P.
        """
        longest = patches.shape[1]
        shapes = read_shapes(spatial_shapes)
        if too_many := [shape for shape in shapes if shape[0] * shape[1] > longest]:
            raise InvalidInputError(f"An image of {too_many[0]} patches doesn't fit into {longest} patches.")
        # Padding gets the first position, as in the reference; it is ignored.
        positions = [resize_positions(self.position_embedding.weight, *shape) for shape in shapes]
        padded = [torch.cat([p, p[:1].expand(longest - len(p), -1)]) for p in positions]
        return self.patch_embedding(patches) + torch.stack(padded)  # type: ignore[no-any-return]


def resize_positions(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Resize a learned square grid (side * side, C), bilinear and antialiased, to (rows * columns, C)."""
    side = math.isqrt(len(positions))
    grid = positions.T.reshape(1, -1, side, side).float()  # (1, C, side, side); no half floats on CPU
    resized = F.interpolate(grid, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].flatten(1).T.to(positions.dtype)


def read_shapes(spatial_shapes: Tensor) -> list[tuple[int, int]]:
    """Give (B, 2) int64 as pairs of rows and columns.

    Raises:
        InvalidInputError: If it has another shape, or an image has no patches.
    """
    if spatial_shapes.ndim != 2 or spatial_shapes.shape[1] != 2:
        raise InvalidInputError(f"spatial_shapes must be (B, 2), not {tuple(spatial_shapes.shape)}.")
    shapes = [(int(rows), int(columns)) for rows, columns in spatial_shapes.tolist()]
    if any(rows < 1 or columns < 1 for rows, columns in shapes):
        raise InvalidInputError(f"Every image needs a row and a column of patches, not {shapes}.")
    return shapes
