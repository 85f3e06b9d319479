"""The models under the names that the family's documents use. The towers are `siglip_ingest.siglip.model`'s own.

One class serves images of a fixed size and NaFlex; its config decides. The `Siglip2...` twins only begin with
another config. Letters in shapes: see `outputs`, and L text length, P patches, F values of a patch.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip import model
from siglip_ingest.siglip.model.attention import Trace, make_attention_mask
from siglip_ingest.siglip.model.siglip import init_weights
from siglip_ingest.siglip.model.text import TextModel
from siglip_ingest.siglip.model.vision import VisionModel
from siglip_ingest.siglip.transformers_api.models.configs import Siglip2Config, SiglipConfig
from siglip_ingest.siglip.transformers_api.models.outputs import BaseModelOutputWithPooling, Features, SiglipOutput
from siglip_ingest.siglip.transformers_api.models.pretrained import PreTrainedModel


class SiglipTextModel(PreTrainedModel, TextModel):
    """The text tower: token ids to embeddings."""

    config_part = "text_config"
    weight_prefix = "text_model."
    architecture = "TextModel"

    def __init__(self, config: model.SiglipTextConfig) -> None:
        super().__init__(config)
        self.config = config
        self.finish_init()

    def init_all_weights(self) -> None:
        """Draw new weights."""
        init_weights(self)

    def forward(  # type: ignore[override]  # gives more than the tower alone
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Embed texts.

        Args:
            input_ids: (B, L) int64, padded to `max_position_embeddings`.
            attention_mask: (B, L), 0 for positions that none looks at. SigLIP was trained without one: leave it out.
            position_ids: (B, L) or (1, L), other positions than 0 to L - 1.
            output_attentions: Also give each layer's weights; attention is then computed by "eager".
            output_hidden_states: Also give each layer's output.
            return_dict: False for a plain tuple.
        """
        device = self.head.weight.device
        trace = make_trace(output_attentions, output_hidden_states)
        states = self.encode(
            input_ids.reshape(-1, input_ids.shape[-1]).to(device),
            None if attention_mask is None else attention_mask.to(device),
            None if position_ids is None else position_ids.to(device),
            trace=trace,
        )
        return make_tower_output(states, self.pool(states), trace, output_hidden_states, return_dict)


class SiglipVisionModel(PreTrainedModel, VisionModel):
    """The vision tower: pixels to embeddings."""

    config_part = "vision_config"
    weight_prefix = "vision_model."
    architecture = "VisionModel"

    def __init__(self, config: model.config.VisionConfig) -> None:
        super().__init__(config)
        self.config = config
        self.finish_init()

    def init_all_weights(self) -> None:
        """Draw new weights."""
        init_weights(self)

    def forward(  # type: ignore[override]  # gives more than the tower alone
        self,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        *,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Embed images.

        Args:
            pixel_values: (B, 3, height, width), normalised; for NaFlex padded patches (B, P, F).
            pixel_attention_mask: NaFlex only: (B, P), 1 for patches and 0 for padding.
            spatial_shapes: NaFlex only: (B, 2) int64, rows and columns of patches.
            interpolate_pos_encoding: Fixed size only: take images of another size, and resize the positions to them.
            output_attentions: Also give each layer's weights; attention is then computed by "eager".
            output_hidden_states: Also give each layer's output.
            return_dict: False for a plain tuple.
        """
        weight = self.embeddings.patch_embedding.weight
        mask = None if pixel_attention_mask is None else pixel_attention_mask.to(weight.device)
        trace = make_trace(output_attentions, output_hidden_states)
        states = self.encode(
            pixel_values.to(device=weight.device, dtype=weight.dtype),
            mask,
            spatial_shapes,
            interpolate_pos_encoding=interpolate_pos_encoding,
            trace=trace,
        )
        pooled = None if self.head is None else self.pool(states, make_attention_mask(mask))
        return make_tower_output(states, pooled, trace, output_hidden_states, return_dict)


class SiglipModel(PreTrainedModel, model.SiglipModel):
    """Both towers, and the logits of every image with every text."""

    architecture = "Model"
    text_model_class: ClassVar[type[TextModel]] = SiglipTextModel
    vision_model_class: ClassVar[type[VisionModel]] = SiglipVisionModel

    def __init__(self, config: SiglipConfig | Siglip2Config) -> None:
        super().__init__(config)
        self.finish_init()

    def init_all_weights(self) -> None:
        """Draw new weights: the towers have theirs already."""
        self.init_constants()

    def get_text_features(  # type: ignore[override]  # gives more than the embeddings alone
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        **options: bool | None,
    ) -> Features | tuple[Any, ...]:
        """Map texts to embeddings (B, D), not of unit length; arguments are the text tower's.

        Returns:
            A tensor, which also has `pooler_output` and `last_hidden_state`; a tuple where `return_dict` is False.
        """
        output = self.text_model(input_ids, attention_mask, position_ids, **options)
        return output if isinstance(output, tuple) else Features.from_output(output)

    def get_image_features(  # type: ignore[override]  # gives more than the embeddings alone
        self,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        **options: bool | None,
    ) -> Features | tuple[Any, ...]:
        """Map images to embeddings (B, D), not of unit length; arguments are the vision tower's.

        Returns:
            A tensor, which also has `pooler_output` and `last_hidden_state`; a tuple where `return_dict` is False.
        """
        output = self.vision_model(pixel_values, pixel_attention_mask, spatial_shapes, **options)
        return output if isinstance(output, tuple) else Features.from_output(output)

    def forward(  # type: ignore[override]  # gives more, and may give a plain tuple
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SiglipOutput | tuple[Any, ...]:
        """Score I images against T texts.

        Args:
            input_ids: (T, L) int64, padded to `max_position_embeddings`.
            pixel_values: See `SiglipVisionModel.forward`, as the next two.
            pixel_attention_mask: NaFlex only.
            spatial_shapes: NaFlex only.
            attention_mask: See `SiglipTextModel.forward`: leave it out.
            position_ids: See `SiglipTextModel.forward`.
            return_loss: Also give the sigmoid loss, where the i-th text belongs to the i-th image.
            interpolate_pos_encoding: See `SiglipVisionModel.forward`.
            output_attentions: Of both towers.
            output_hidden_states: Of both towers.
            return_dict: False for a plain tuple.

        Raises:
            InvalidInputError: If the inputs don't fit the model, or there is a loss to compute and T is not I.
        """
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        vision: BaseModelOutputWithPooling = self.vision_model(
            pixel_values,
            pixel_attention_mask,
            spatial_shapes,
            interpolate_pos_encoding=interpolate_pos_encoding,
            **options,
        )
        text: BaseModelOutputWithPooling = self.text_model(input_ids, attention_mask, position_ids, **options)
        if vision.pooler_output is None or text.pooler_output is None:
            raise InvalidInputError("This vision tower has no pooling head (vision_use_head is false): no embeddings.")
        scored = self.score(vision.pooler_output.to(text.pooler_output.device), text.pooler_output)
        loss = None
        if return_loss:
            from siglip_ingest.siglip.training.loss import sigmoid_loss  # training is for those who train

            loss = sigmoid_loss(scored.image_embeds, scored.text_embeds, self.logit_scale, self.logit_bias)
        output = SiglipOutput(loss=loss, **scored._asdict(), text_model_output=text, vision_model_output=vision)
        return output.to_tuple() if return_dict is False else output


class Siglip2TextModel(SiglipTextModel):
    """The text tower beside a NaFlex vision tower, which is the same."""


class Siglip2VisionModel(SiglipVisionModel):
    """The vision tower of NaFlex models; of fixed-resolution ones too, where the checkpoint is one."""


class Siglip2Model(SiglipModel):
    """Both towers of a NaFlex model; of a fixed-resolution one too, where the checkpoint is one."""


def make_trace(output_attentions: bool | None, output_hidden_states: bool | None) -> Trace | None:
    """Make what collects a forward pass, where something of it is asked for."""
    return Trace(needs_attentions=bool(output_attentions)) if output_attentions or output_hidden_states else None


def make_tower_output(
    states: Tensor,
    pooled: Tensor | None,
    trace: Trace | None,
    output_hidden_states: bool | None,
    return_dict: bool | None,
) -> BaseModelOutputWithPooling | tuple[Any, ...]:
    """Put together what a tower gives."""
    output = BaseModelOutputWithPooling(
        last_hidden_state=states,
        pooler_output=pooled,
        hidden_states=tuple(trace.hidden_states) if trace and output_hidden_states else None,
        attentions=tuple(trace.attentions) if trace and trace.needs_attentions else None,
    )
    return output.to_tuple() if return_dict is False else output
