"""The sizes of a SigLIP model, with exactly the keys and defaults of a published config.json.

Published files omit every field that has its default value, so the defaults are part of the format
(transformers, models/siglip/configuration_siglip.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from siglip_ingest.errors import CheckpointError

MODEL_TYPE = "siglip"
ACTIVATION_NAMES = ("gelu_pytorch_tanh", "gelu")


@dataclass(frozen=True, kw_only=True)
class _TowerConfig:
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    hidden_act: str = "gelu_pytorch_tanh"
    layer_norm_eps: float = 1e-6
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            value = getattr(self, setting.name)
            if setting.type == "int" and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise CheckpointError(f"{setting.name} of a tower must be a whole number above 0, not {value!r}.")
        if self.hidden_size % self.num_attention_heads:
            raise CheckpointError(
                f"hidden_size {self.hidden_size} can't be split into {self.num_attention_heads} attention heads."
            )
        if self.hidden_act not in ACTIVATION_NAMES:
            raise CheckpointError(f"hidden_act must be one of {', '.join(ACTIVATION_NAMES)}, not {self.hidden_act!r}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Take this tower's fields out of a parsed config.json; other keys are left alone, missing ones get defaults.

        Raises:
            CheckpointError: If a value can't be used.
        """
        known = {setting.name for setting in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})


@dataclass(frozen=True, kw_only=True)
class SiglipTextConfig(_TowerConfig):
    """Sizes of the text tower.

    Attributes:
        vocab_size: Rows of the token embedding.
        max_position_embeddings: L, the length that every text is padded to.
        projection_size: Length of a text embedding; None means `hidden_size`.
        pad_token_id: Kept for tools that read config.json; the tokenizer's own files decide.
    """

    vocab_size: int = 32000
    max_position_embeddings: int = 64
    projection_size: int | None = None
    pad_token_id: int | None = 1

    @property
    def dimension(self) -> int:
        """Length of a text embedding."""
        return self.projection_size or self.hidden_size


@dataclass(frozen=True, kw_only=True)
class SiglipVisionConfig(_TowerConfig):
    """Sizes of the vision tower. Images and patches are square, with sides in pixels."""

    num_channels: int = 3
    image_size: int = 224
    patch_size: int = 16
    vision_use_head: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_size > self.image_size:
            raise CheckpointError(f"patch_size {self.patch_size} is larger than image_size {self.image_size}.")
        if not self.vision_use_head:
            raise CheckpointError("vision_use_head is false: a checkpoint without a pooling head gives no embeddings.")

    @property
    def dimension(self) -> int:
        """Length of an image embedding."""
        return self.hidden_size

    @property
    def patches_per_side(self) -> int:
        """Whole patches along one side; what is left over at the border is not used (384 // 14 = 27)."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class SiglipConfig:
    """Both towers' sizes. The defaults are those of `google/siglip-base-patch16-224`."""

    text_config: SiglipTextConfig = field(default_factory=SiglipTextConfig)
    vision_config: SiglipVisionConfig = field(default_factory=SiglipVisionConfig)
    initializer_factor: float = 1.0

    def __post_init__(self) -> None:
        if self.text_config.dimension != self.vision_config.dimension:
            raise CheckpointError(
                f"The towers don't meet: text embeddings have {self.text_config.dimension} numbers, "
                f"image embeddings {self.vision_config.dimension}."
            )

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return self.vision_config.dimension

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SiglipConfig:
        """Read a parsed config.json.

        Raises:
            CheckpointError: If it describes another architecture or a value can't be used.
        """
        model_type = values.get("model_type", MODEL_TYPE)
        if model_type != MODEL_TYPE:
            raise CheckpointError(
                f"The checkpoint's model_type is {model_type!r}, expected {MODEL_TYPE!r} "
                "(SigLIP and fixed-resolution SigLIP 2)."
            )
        return cls(
            text_config=SiglipTextConfig.from_dict(values.get("text_config") or {}),
            vision_config=SiglipVisionConfig.from_dict(values.get("vision_config") or {}),
            initializer_factor=values.get("initializer_factor", 1.0),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the content of a config.json that `from_dict` and transformers read back."""
        text = {"model_type": "siglip_text_model"} | dataclasses.asdict(self.text_config)
        text["projection_size"] = self.text_config.dimension
        return {
            "architectures": ["SiglipModel"],
            "model_type": MODEL_TYPE,
            "initializer_factor": self.initializer_factor,
            "text_config": text,
            "vision_config": {"model_type": "siglip_vision_model"} | dataclasses.asdict(self.vision_config),
        }
