"""The pairwise sigmoid loss (Zhai et al., 2023, "Sigmoid Loss for Language Image Pre-Training", section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from siglip_ingest.errors import InvalidInputError


def sigmoid_loss(
    image_embeds: Tensor,
    text_embeds: Tensor,
    logit_scale: Tensor,
    logit_bias: Tensor,
    is_match: Tensor | None = None,
) -> Tensor:
    """Sum -log sigmoid(z_ij * (t * x_i . y_j + b)) over all pairs, divided by the number of images.

    Every pair is a decision of its own, so a text may belong to several images and an image to several texts: tell so
    in `is_match`. Without it, the i-th text belongs to the i-th image alone, as in the paper.

    Args:
        image_embeds: x, unit vectors (I, D).
        text_embeds: y, unit vectors (T, D).
        logit_scale: t', the logarithm of t; one number.
        logit_bias: b; one number.
        is_match: (I, T) bool, z_ij = +1 where true and -1 elsewhere.

    Raises:
        InvalidInputError: If `is_match` is missing and I is not T, or has another shape than (I, T).
    """
    shape = (len(image_embeds), len(text_embeds))
    if is_match is None:
        if shape[0] != shape[1]:
            raise InvalidInputError(f"{shape[0]} images and {shape[1]} texts are no pairs: pass is_match.")
        is_match = torch.eye(shape[0], dtype=torch.bool, device=image_embeds.device)
    if tuple(is_match.shape) != shape:
        raise InvalidInputError(f"is_match has the shape {tuple(is_match.shape)}, expected (images, texts) = {shape}.")
    logits = image_embeds @ text_embeds.T * logit_scale.exp() + logit_bias
    return -F.logsigmoid(torch.where(is_match, logits, -logits)).sum() / shape[0]
