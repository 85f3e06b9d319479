"""Both towers and the sigmoid's two constants (Zhai et al., 2023, "Sigmoid Loss for Language Image Pre-Training")."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from siglip_ingest.model.config import SiglipConfig
from siglip_ingest.model.layers import Attention, Mlp
from siglip_ingest.model.text import TextEmbeddings, TextModel
from siglip_ingest.model.vision import PoolingAttention, PoolingHead, VisionEmbeddings, VisionModel

_MODULES_WITH_WEIGHTS = (Attention, Mlp, TextEmbeddings, TextModel, VisionEmbeddings, PoolingHead, PoolingAttention)


class SiglipOutput(NamedTuple):
    """What a forward pass gives for I images and T texts.

    Attributes:
        logits_per_image: (I, T), exp(logit_scale) * cosine + logit_bias; their sigmoid is the score.
        logits_per_text: (T, I), the same transposed.
        image_embeds: (I, D) unit vectors.
        text_embeds: (T, D) unit vectors.
        image_hidden_states: Patch embeddings and each layer's output, (I, P, C), where asked for.
        text_hidden_states: Token embeddings and each layer's output, (T, L, C), where asked for.
    """

    logits_per_image: Tensor
    logits_per_text: Tensor
    image_embeds: Tensor
    text_embeds: Tensor
    image_hidden_states: tuple[Tensor, ...] | None = None
    text_hidden_states: tuple[Tensor, ...] | None = None


class SiglipModel(nn.Module):
    """SigLIP and fixed-resolution SigLIP 2. Parameters carry the names of the published checkpoints.

    A new model's weights are undefined: load a checkpoint, or call `init_weights` to train from nothing.
    """

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.config = config
        self.text_model = TextModel(config.text_config)
        self.vision_model = VisionModel(config.vision_config)
        self.logit_scale = nn.Parameter(Tensor(1))
        self.logit_bias = nn.Parameter(Tensor(1))

    def get_image_features(self, pixel_values: Tensor) -> Tensor:
        """Map pixel values (B, 3, height, width) to embeddings (B, D), not normalised."""
        return self.vision_model(pixel_values)  # type: ignore[no-any-return]

    def get_text_features(self, input_ids: Tensor) -> Tensor:
        """Map padded ids (B, L) int64 to embeddings (B, D), not normalised."""
        return self.text_model(input_ids)  # type: ignore[no-any-return]

    def forward(self, input_ids: Tensor, pixel_values: Tensor, *, has_hidden_states: bool = False) -> SiglipOutput:
        """Score every image against every text.

        Args:
            input_ids: (T, L) int64, padded to the model's text length.
            pixel_values: (I, 3, height, width), normalised.
            has_hidden_states: Whether the output carries every layer's hidden states.
        """
        image_states: list[Tensor] | None = [] if has_hidden_states else None
        text_states: list[Tensor] | None = [] if has_hidden_states else None
        image_embeds = _to_unit(self.vision_model(pixel_values, hidden_states=image_states))
        text_embeds = _to_unit(self.text_model(input_ids, hidden_states=text_states))
        logits_per_image = image_embeds @ text_embeds.T * self.logit_scale.exp() + self.logit_bias
        return SiglipOutput(
            logits_per_image=logits_per_image,
            logits_per_text=logits_per_image.T,
            image_embeds=image_embeds,
            text_embeds=text_embeds,
            image_hidden_states=None if image_states is None else tuple(image_states),
            text_hidden_states=None if text_states is None else tuple(text_states),
        )

    def init_weights(self) -> None:
        """Draw new weights from torch's random generator, to train from nothing.

        Distributions are those of transformers' `SiglipPreTrainedModel._init_weights`, which are big_vision's, but for
        the constants: log(10) and -10, as the paper starts them (section 3.2), where transformers leaves zeros.
        """
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, _MODULES_WITH_WEIGHTS):
                module.init_weights()
        nn.init.constant_(self.logit_scale, math.log(10.0))
        nn.init.constant_(self.logit_bias, -10.0)


def _to_unit(x: Tensor) -> Tensor:
    """Divide each row of (B, D) by its length."""
    return F.normalize(x, dim=-1)
