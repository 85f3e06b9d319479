"""A vision tower with a linear classifier on its patches (transformers' `SiglipForImageClassification`)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from siglip_ingest.siglip.model.config import SiglipConfig
from siglip_ingest.siglip.model.vision import VisionModel

ARCHITECTURE = "ForImageClassification"  # for `name_architecture`
CLASSIFIER_NAMES = ("classifier.weight", "classifier.bias")


class SiglipClassifier(nn.Module):
    """Images to one logit a class. The pooling head isn't used: a class is seen in the mean of all patches.

    A new model's weights are undefined: load the tower from a checkpoint, and call `init_classifier`.

    Attributes:
        vision_model_class: Makes the vision tower; for subclasses whose tower gives more.
    """

    vision_model_class: ClassVar[type[VisionModel]] = VisionModel

    def __init__(self, config: SiglipConfig) -> None:
        super().__init__()
        self.config = config
        self.vision_model = self.vision_model_class(config.vision_config)
        self.classifier = nn.Linear(config.vision_config.hidden_size, config.num_labels)

    def init_classifier(self) -> None:
        """Draw a new classifier: normal of deviation C^-1/2 * initializer_factor, bias 0, as the reference does."""
        deviation = self.config.vision_config.hidden_size**-0.5 * self.config.initializer_factor
        nn.init.normal_(self.classifier.weight, std=deviation)
        nn.init.zeros_(self.classifier.bias)

    def forward(
        self, pixel_values: Tensor, pixel_attention_mask: Tensor | None = None, spatial_shapes: Tensor | None = None
    ) -> Tensor:
        """Map images, given as to `VisionModel.encode`, to logits (B, num_labels)."""
        states = self.vision_model.encode(pixel_values, pixel_attention_mask, spatial_shapes)
        return self.classify(states, pixel_attention_mask)

    def classify(self, states: Tensor, pixel_attention_mask: Tensor | None = None) -> Tensor:
        """Map normalised states (B, P, C) to logits (B, num_labels): the mean over patches, without padding."""
        if pixel_attention_mask is None:
            return self.classifier(states.mean(dim=1))  # type: ignore[no-any-return]
        weights = pixel_attention_mask[..., None].to(states.dtype)
        return self.classifier((states * weights).sum(dim=1) / weights.sum(dim=1))  # type: ignore[no-any-return]
