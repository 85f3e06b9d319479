"""Both towers and the sigmoid's two constants (Zhai et al., 2023, "Sigmoid Loss for Language Image Pre-Training")."""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.model.config import SiglipConfig
from siglip_ingest.siglip.model.layers import Attention, Mlp
from siglip_ingest.siglip.model.naflex import NaflexEmbeddings
from siglip_ingest.siglip.model.text import TextEmbeddings, TextModel
from siglip_ingest.siglip.model.vision import PoolingAttention, PoolingHead, VisionEmbeddings, VisionModel

_MODULES_WITH_WEIGHTS = (
    Attention, Mlp, TextEmbeddings, TextModel, VisionEmbeddings, NaflexEmbeddings, PoolingHead, PoolingAttention,
)  # fmt: skip


class SiglipOutput(NamedTuple):
    """What a forward pass gives for I images and T texts.

    Attributes:
        logits_per_image: (I, T), exp(logit_scale) * cosine + logit_bias; their sigmoid is the score.
        logits_per_text: (T, I), the same transposed.
        image_embeds: (I, D) unit vectors.
        text_embeds: (T, D) unit vectors.
    """

    logits_per_image: Tensor
    logits_per_text: Tensor
    image_embeds: Tensor
    text_embeds: Tensor


class SiglipModel(nn.Module):
    """SigLIP and SigLIP 2, NaFlex included. Parameters carry the names of the published checkpoints.

    A new model's weights are undefined: load a checkpoint, or call `init_weights` to train from nothing.

    Attributes:
        text_model_class: Makes the text tower; for subclasses whose towers give more.
        vision_model_class: Makes the vision tower.
    """

    text_model_class: ClassVar[type[TextModel]] = TextModel
    vision_model_class: ClassVar[type[VisionModel]] = VisionModel

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        if not config.vision_config.vision_use_head:
            raise CheckpointError("vision_use_head is false: a checkpoint without a pooling head gives no embeddings.")
        self.config = config
        self.text_model = self.text_model_class(config.text_config)
        self.vision_model = self.vision_model_class(config.vision_config)
        self.logit_scale = nn.Parameter(Tensor(1))
        self.logit_bias = nn.Parameter(Tensor(1))

    def get_image_features(
        self, pixel_values: Tensor, pixel_attention_mask: Tensor | None = None, spatial_shapes: Tensor | None = None
    ) -> Tensor:
        """Map images to embeddings (B, D), not normalised.

        Args:
            pixel_values: (B, 3, height, width); for NaFlex padded patches (B, P, F).
            pixel_attention_mask: NaFlex only: (B, P), 1 for patches and 0 for padding.
            spatial_shapes: NaFlex only: (B, 2) int64, rows and columns of patches.
        """
        return self.vision_model(pixel_values, pixel_attention_mask, spatial_shapes)  # type: ignore[no-any-return]

    def get_text_features(self, input_ids: Tensor) -> Tensor:
        """Map padded ids (B, L) int64 to embeddings (B, D), not normalised."""
        return self.text_model(input_ids)  # type: ignore[no-any-return]

    def forward(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
    ) -> SiglipOutput:
        """Score every image against every text.

        Args:
            input_ids: (T, L) int64, padded to the model's text length.
            pixel_values: (I, 3, height, width), normalised; for NaFlex padded patches (I, P, F).
            pixel_attention_mask: NaFlex only: (I, P), 1 for patches and 0 for padding.
            spatial_shapes: NaFlex only: (I, 2) int64, rows and columns of patches.
        """
        return self.score(
            self.get_image_features(pixel_values, pixel_attention_mask, spatial_shapes),
            self.get_text_features(input_ids),
        )

    def score(self, image_features: Tensor, text_features: Tensor) -> SiglipOutput:
        """Score embeddings (I, D) against (T, D), both as the towers give them, not normalised."""
        image_embeds, text_embeds = _to_unit(image_features), _to_unit(text_features)
        logits_per_image = image_embeds @ text_embeds.T * self.logit_scale.exp() + self.logit_bias
        return SiglipOutput(
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_image.T,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
        )

    def init_weights(self) -> None:
        """Draw new weights from torch's random generator, to train from nothing.

        Distributions are those of transformers' `SiglipPreTrainedModel._init_weights`, which are big_vision's, but for
        the constants: log(10) and -10, as the paper starts them (section 3.2), where transformers leaves zeros.
        """
        init_weights(self)
        self.init_constants()

    def init_constants(self) -> None:
        """Set the two constants to where training from nothing starts them."""
        nn.init.constant_(self.logit_scale, math.log(10.0))
        nn.init.constant_(self.logit_bias, -10.0)


def init_weights(model: nn.Module) -> None:
    """Draw new weights for every layer of a tower."""
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, _MODULES_WITH_WEIGHTS):
            module.init_weights()


def _to_unit(x: Tensor) -> Tensor:
    """Divide each row of (B, D) by its length."""
    return F.normalize(x, dim=-1)
