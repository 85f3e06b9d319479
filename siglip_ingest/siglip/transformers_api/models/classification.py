"""Image classifiers: a vision tower, the mean of its patches, one linear layer (transformers' classes of that name)."""

from __future__ import annotations

from typing import Any, ClassVar

import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model import SiglipClassifier
from siglip_ingest.siglip.model.classification import ARCHITECTURE, CLASSIFIER_NAMES
from siglip_ingest.siglip.model.vision import VisionModel
from siglip_ingest.siglip.transformers_api.models.configs import Siglip2Config, SiglipConfig
from siglip_ingest.siglip.transformers_api.models.outputs import BaseModelOutputWithPooling, ImageClassifierOutput
from siglip_ingest.siglip.transformers_api.models.pretrained import PreTrainedModel
from siglip_ingest.siglip.transformers_api.models.towers import SiglipVisionModel


class SiglipForImageClassification(PreTrainedModel, SiglipClassifier):
    """Images to one logit a class. From a checkpoint without a classifier the tower is loaded, and one is drawn."""

    architecture = ARCHITECTURE
    optional_weights = CLASSIFIER_NAMES
    vision_model_class: ClassVar[type[VisionModel]] = SiglipVisionModel

    def __init__(self, config: SiglipConfig | Siglip2Config) -> None:
        super().__init__(config)
        self.finish_init()

    @property
    def num_labels(self) -> int:
        """How many classes there are."""
        return self.classifier.out_features

    def init_all_weights(self) -> None:
        """Draw new weights: the tower has its own already."""
        self.init_classifier()

    def init_optional_weights(self) -> None:
        """Draw a new classifier."""
        self.init_classifier()

    def forward(  # type: ignore[override]  # gives more than the logits alone
        self,
        pixel_values: Tensor,
        pixel_attention_mask: Tensor | None = None,
        spatial_shapes: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        interpolate_pos_encoding: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> ImageClassifierOutput | tuple[Any, ...]:
        """Classify images.

        Args:
            pixel_values: See `SiglipVisionModel.forward`, as the next two.
            pixel_attention_mask: NaFlex only.
            spatial_shapes: NaFlex only.
            labels: To learn from: (B,) int64 classes, (B, num_labels) float for classes that don't exclude each other,
                or (B,) float where there is one number to predict.
            interpolate_pos_encoding: See `SiglipVisionModel.forward`.
            output_attentions: Also give each layer's weights; attention is then computed by "eager".
            output_hidden_states: Also give each layer's output.
            return_dict: False for a plain tuple.

        Raises:
            InvalidInputError: If the labels haven't the shape that the kind of problem asks for.
        """
        vision: BaseModelOutputWithPooling = self.vision_model(
            pixel_values,
            pixel_attention_mask,
            spatial_shapes,
            interpolate_pos_encoding=interpolate_pos_encoding,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        states = vision["last_hidden_state"].to(self.classifier.weight.device)
        mask = None if pixel_attention_mask is None else pixel_attention_mask.to(states.device)
        logits = self.classify(states, mask)
        output = ImageClassifierOutput(
            loss=None if labels is None else compute_loss(logits, labels, self.config.problem_type),
            logits=logits,
            hidden_states=vision.hidden_states,
            attentions=vision.attentions,
        )
        return output.to_tuple() if return_dict is False else output


class Siglip2ForImageClassification(SiglipForImageClassification):
    """A classifier of NaFlex images; of images of a fixed size too, where the checkpoint is for those."""


def compute_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """Compute a classifier's loss.

    Args:
        logits: (B, num_labels).
        labels: See `SiglipForImageClassification.forward`.
        problem_type: "regression" (mean squared error), "single_label_classification" (cross-entropy) or
            "multi_label_classification" (binary cross-entropy); None lets the labels decide: one class is a regression,
            whole numbers are classes.

    Raises:
        InvalidInputError: If the labels haven't the shape that it asks for.
    """
    labels = labels.to(logits.device)
    if problem_type is None and logits.shape[1] == 1:
        problem_type = "regression"
    if problem_type is None:
        is_multiple = labels.is_floating_point()
        problem_type = "multi_label_classification" if is_multiple else "single_label_classification"
    if problem_type == "single_label_classification":
        return F.cross_entropy(logits, labels.reshape(-1))
    if labels.shape != logits.shape and labels.numel() == logits.numel() and logits.shape[1] == 1:
        labels = labels.reshape(logits.shape)
    if labels.shape != logits.shape:
        raise InvalidInputError(
            f"{problem_type} needs labels of shape {tuple(logits.shape)}, not {tuple(labels.shape)}."
        )
    if problem_type == "regression":
        return F.mse_loss(logits, labels.to(logits.dtype))
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
