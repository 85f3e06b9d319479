"""The objectives of training: a batch of images with texts or with classes, and its loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from siglip_ingest.siglip.model import SiglipClassifier, SiglipModel
from siglip_ingest.siglip.training.distributed.ring_loss import ring_sigmoid_loss
from siglip_ingest.siglip.training.loss import sigmoid_loss


class Batch(NamedTuple):
    """Images and texts.

    Attributes:
        pixel_values: Normalised as the model's preprocessor does, float32: (I, 3, height, width), or for NaFlex padded
            patches (I, P, F).
        input_ids: (T, L) int64, padded to the model's text length.
        is_match: (I, T) bool, which texts are true of which images; None for the i-th of the i-th alone.
        match_ids: (I,) int64 instead, where I is T: a text is true of all images with the id of its own.
        pixel_attention_mask: NaFlex only: (I, P), 1 for patches and 0 for padding.
        spatial_shapes: NaFlex only: (I, 2) int64, rows and columns of patches.
    """

    pixel_values: Tensor
    input_ids: Tensor
    is_match: Tensor | None = None
    match_ids: Tensor | None = None
    pixel_attention_mask: Tensor | None = None
    spatial_shapes: Tensor | None = None


class ClassBatch(NamedTuple):
    """Images and what class each belongs to.

    Attributes:
        pixel_values: As those of `Batch`.
        targets: (I,) int64, the class's number.
        pixel_attention_mask: As that of `Batch`.
        spatial_shapes: As that of `Batch`.
    """

    pixel_values: Tensor
    targets: Tensor
    pixel_attention_mask: Tensor | None = None
    spatial_shapes: Tensor | None = None


def compute_sigmoid_loss(model: SiglipModel, batch: Batch) -> Tensor:
    """Embed a batch's images and texts and return their pairwise sigmoid loss."""
    is_match = batch.is_match
    if is_match is None and batch.match_ids is not None:
        is_match = batch.match_ids[:, None] == batch.match_ids
    image_embeds = _embed_images(model, batch)
    return score_embeddings(model, image_embeds, model.get_text_features(batch.input_ids), is_match)


def compute_ring_loss(model: SiglipModel, batch: Batch) -> Tensor:
    """Do the same where each process has a part of the batch; `is_match` isn't read, `match_ids` is.

    The mean over processes is the loss of the whole batch, see `ring_sigmoid_loss`.
    """
    image_embeds, text_embeds = _embed_images(model, batch), model.get_text_features(batch.input_ids)
    with torch.autocast(image_embeds.device.type, enabled=False):
        images, texts = _to_unit(image_embeds), _to_unit(text_embeds)
        return ring_sigmoid_loss(images, texts, model.logit_scale, model.logit_bias, batch.match_ids)


def compute_class_loss(model: SiglipClassifier, batch: ClassBatch) -> Tensor:
    """Return the cross entropy of a batch's classes, the mean over its images."""
    logits = model(batch.pixel_values, batch.pixel_attention_mask, batch.spatial_shapes)
    return F.cross_entropy(logits.float(), batch.targets)


def score_embeddings(
    model: SiglipModel, image_embeds: Tensor, text_embeds: Tensor, is_match: Tensor | None = None
) -> Tensor:
    """Return the pairwise sigmoid loss of embeddings as the towers give them, not normalised: (I, D) and (T, D).

    It is float32 under autocast too: bfloat16 can't tell logits near the decision apart.
    """
    with torch.autocast(image_embeds.device.type, enabled=False):
        images, texts = _to_unit(image_embeds), _to_unit(text_embeds)
        return sigmoid_loss(images, texts, model.logit_scale, model.logit_bias, is_match)


def _embed_images(model: SiglipModel, batch: Batch) -> Tensor:
    return model.get_image_features(batch.pixel_values, batch.pixel_attention_mask, batch.spatial_shapes)


def _to_unit(embeds: Tensor) -> Tensor:
    return F.normalize(embeds.float(), dim=-1)
