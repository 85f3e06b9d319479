"""Initial weights with which a small vision tower trains in an hour on a CPU.

Everything is learned on from there. The patch projection starts as a whitening of the training images' patches, so
that nothing of a patch is lost and no direction drowns the others; positions start as sines and cosines of row and
column, so that near patches have near codes (Beyer et al., 2022, "Better plain ViT baselines for ImageNet-1k");
attention starts near the identity, so that each patch first attends to those like it (Trockman and Kolter, 2023,
"Mimetic Initialization of Self-Attention Layers").
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model import SiglipModel
from siglip_ingest.siglip.model.vision import VisionEmbeddings

_SCALE = 0.5  # deviation of a patch's code, and amplitude of a position's


def warm_start(model: SiglipModel, pixel_values: Tensor) -> None:
    """Set the vision tower's first weights from a sample of normalised images (N, 3, height, width)."""
    embeddings = model.vision_model.embeddings
    if not isinstance(embeddings, VisionEmbeddings):
        raise InvalidInputError("Only towers for images of a fixed size are started warm.")
    with torch.no_grad():
        _whiten_patches(embeddings.patch_embedding, pixel_values)
        positions = embeddings.position_embedding.weight
        positions.copy_(_SCALE * make_position_codes(math.isqrt(len(positions)), positions.shape[1]))
        for layer in model.vision_model.encoder.layers:
            _start_near_identity(layer.get_submodule("self_attn.q_proj"), layer.get_submodule("self_attn.k_proj"))


def make_position_codes(side: int, width: int) -> Tensor:
    """Return (side * side, width): sines and cosines of each patch's row and column, in reading order."""
    frequencies = 1.0 / 100.0 ** (torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies[None, :]
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line.repeat_interleave(side, dim=0), line.repeat(side, 1)
    return torch.cat([rows, columns], dim=1)


def _whiten_patches(convolution: nn.Conv2d, pixel_values: Tensor) -> None:
    size, width = convolution.kernel_size[0], convolution.out_channels
    patches = nn.functional.unfold(pixel_values, size, stride=size).transpose(1, 2).flatten(0, 1)
    mean = patches.mean(dim=0)
    values, directions = torch.linalg.eigh(torch.cov(patches.T))
    values, directions = values.flip(0)[:width], directions.flip(1)[:, :width]
    floor = 0.01 * values[: width // 4].mean()  # faint directions are mostly noise: don't blow them up
    projection = (directions / (values + floor).sqrt()).T * _SCALE
    convolution.weight.zero_()
    bias = torch.zeros(width)
    convolution.weight[: len(projection)] = projection.reshape(-1, *convolution.weight.shape[1:])
    bias[: len(projection)] = -(projection @ mean)
    convolution.bias = nn.Parameter(bias)


def _start_near_identity(query: nn.Module, key: nn.Module) -> None:
    """Make queries and keys alike, so that q . k first measures how alike two patches are."""
    if not (isinstance(query, nn.Linear) and isinstance(key, nn.Linear)):
        raise TypeError("queries and keys must come from linear layers")
    width = query.in_features
    shared = torch.randn(width, width) / width**0.5
    noise = torch.randn(width, width) / width**0.5
    query.weight.copy_(shared)
    key.weight.copy_(0.7 * shared + 0.3 * noise)
