"""The sizes of a SigLIP model, with exactly the keys and defaults of a published config.json.

Published files omit every field that has its default value, so the defaults are part of the format
(transformers, models/siglip/configuration_siglip.py and models/siglip2/configuration_siglip2.py).

The model_type `siglip` means images of one fixed size, SigLIP 2's fixed-resolution checkpoints included; `siglip2`
means NaFlex: images keep their aspect ratio and have as many patches as they need, up to a bound.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from siglip_ingest.errors import CheckpointError

ACTIVATION_NAMES = ("gelu_pytorch_tanh", "gelu")
PROBLEM_TYPES = ("single_label_classification", "multi_label_classification", "regression")


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
    """Sizes of the text tower, which is the same for images of a fixed size and for NaFlex.

    Attributes:
        vocab_size: Rows of the token embedding.
        max_position_embeddings: L, the length that every text is padded to.
        projection_size: Length of a text embedding; None means `hidden_size`.
        pad_token_id: Kept for tools that read config.json, as the next two: the tokenizer's own files decide.
        bos_token_id: Not used.
        eos_token_id: Not used.
    """

    model_type: ClassVar[str] = "siglip_text_model"

    vocab_size: int = 32000
    max_position_embeddings: int = 64
    projection_size: int | None = None
    pad_token_id: int | None = 1
    bos_token_id: int | None = 49406
    eos_token_id: int | list[int] | None = 49407

    @property
    def dimension(self) -> int:
        """Length of a text embedding."""
        return self.projection_size or self.hidden_size


@dataclass(frozen=True, kw_only=True)
class Siglip2TextConfig(SiglipTextConfig):
    """Sizes of the text tower beside a NaFlex vision tower."""

    model_type: ClassVar[str] = "siglip2_text_model"


@dataclass(frozen=True, kw_only=True)
class VisionConfig(_TowerConfig, ABC):
    """What both kinds of vision tower have. Patches are square, `patch_size` pixels a side."""

    model_type: ClassVar[str]
    is_naflex: ClassVar[bool]

    num_channels: int = 3
    patch_size: int = 16
    vision_use_head: bool = True

    @property
    def dimension(self) -> int:
        """Length of an image embedding."""
        return self.hidden_size

    @property
    @abstractmethod
    def patches_per_side(self) -> int:
        """Side of the square grid of learned positions."""

    @property
    def values_per_patch(self) -> int:
        """Numbers in one patch: its pixels' channels."""
        return self.num_channels * self.patch_size**2


@dataclass(frozen=True, kw_only=True)
class SiglipVisionConfig(VisionConfig):
    """Sizes of a vision tower for square images of `image_size` pixels a side."""

    model_type: ClassVar[str] = "siglip_vision_model"
    is_naflex: ClassVar[bool] = False

    image_size: int = 224

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.patch_size > self.image_size:
            raise CheckpointError(f"patch_size {self.patch_size} is larger than image_size {self.image_size}.")

    @property
    def patches_per_side(self) -> int:
        """Whole patches along one side; what is left over at the border is not used (384 // 14 = 27)."""
        return self.image_size // self.patch_size


@dataclass(frozen=True, kw_only=True)
class Siglip2VisionConfig(VisionConfig):
    """Sizes of a NaFlex vision tower, for rectangles of patches.

    Attributes:
        num_patches: Learned positions, which lie on a square grid and are resized to each image's own.
    """

    model_type: ClassVar[str] = "siglip2_vision_model"
    is_naflex: ClassVar[bool] = True

    num_patches: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if math.isqrt(self.num_patches) ** 2 != self.num_patches:
            raise CheckpointError(f"num_patches {self.num_patches} is not a square, as a grid of positions is.")

    @property
    def patches_per_side(self) -> int:
        """Side of the square grid of learned positions."""
        return math.isqrt(self.num_patches)


@dataclass(frozen=True, kw_only=True)
class SiglipConfig:
    """Both towers' sizes. The defaults are those of `google/siglip-base-patch16-224`.

    Attributes:
        initializer_factor: Scales the first weights of a new image classifier.
        id2label: The classes of an image classifier, None where there is none.
        problem_type: What a classifier learns: "single_label_classification", "multi_label_classification" or
            "regression"; None lets the labels decide.
    """

    model_type: ClassVar[str] = "siglip"
    text_config_class: ClassVar[type[SiglipTextConfig]] = SiglipTextConfig
    vision_config_class: ClassVar[type[VisionConfig]] = SiglipVisionConfig

    text_config: SiglipTextConfig = field(default_factory=SiglipTextConfig)
    vision_config: VisionConfig = field(default_factory=SiglipVisionConfig)
    initializer_factor: float = 1.0
    id2label: Mapping[int, str] | None = None
    problem_type: str | None = None

    def __post_init__(self) -> None:
        if self.text_config.dimension != self.vision_config.dimension:
            raise CheckpointError(
                f"The towers don't meet: text embeddings have {self.text_config.dimension} numbers, "
                f"image embeddings {self.vision_config.dimension}."
            )
        if self.problem_type not in {None, *PROBLEM_TYPES}:
            raise CheckpointError(f"problem_type must be one of {', '.join(PROBLEM_TYPES)}, not {self.problem_type!r}.")
        if not isinstance(self.vision_config, self.vision_config_class):
            raise CheckpointError(
                f"{type(self).__name__} takes a {self.vision_config_class.__name__}, "
                f"not a {type(self.vision_config).__name__}."
            )

    @property
    def dimension(self) -> int:
        """D, the length of an embedding."""
        return self.vision_config.dimension

    @property
    def num_labels(self) -> int:
        """Classes of an image classifier; two where none are named, as in the reference."""
        return 2 if self.id2label is None else len(self.id2label)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read a parsed config.json of this class's `model_type`; `config_from_dict` chooses the class.

        Raises:
            CheckpointError: If it describes another architecture or a value can't be used.
        """
        if values.get("model_type", cls.model_type) != cls.model_type:
            raise CheckpointError(f"model_type is {values['model_type']!r}, expected {cls.model_type!r}.")
        return cls(
            text_config=cls.text_config_class.from_dict(values.get("text_config") or {}),
            vision_config=cls.vision_config_class.from_dict(values.get("vision_config") or {}),
            initializer_factor=values.get("initializer_factor", 1.0),
            id2label=_read_labels(values.get("id2label")),
            problem_type=values.get("problem_type"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the content of a config.json that `config_from_dict` and transformers read back."""
        text = {"model_type": self.text_config.model_type} | dataclasses.asdict(self.text_config)
        text["projection_size"] = self.text_config.dimension
        values = {
            "architectures": [name_architecture(self.model_type, "Model")],
            "model_type": self.model_type,
            "initializer_factor": self.initializer_factor,
            "text_config": text,
            "vision_config": {"model_type": self.vision_config.model_type} | dataclasses.asdict(self.vision_config),
        }
        if self.id2label is not None:
            values["id2label"] = {str(index): label for index, label in self.id2label.items()}
            values["label2id"] = {label: index for index, label in self.id2label.items()}
        if self.problem_type is not None:
            values["problem_type"] = self.problem_type
        return values


@dataclass(frozen=True, kw_only=True)
class Siglip2Config(SiglipConfig):
    """Both towers' sizes of a NaFlex model. The defaults are transformers' `Siglip2Config`."""

    model_type: ClassVar[str] = "siglip2"
    text_config_class: ClassVar[type[SiglipTextConfig]] = Siglip2TextConfig
    vision_config_class: ClassVar[type[VisionConfig]] = Siglip2VisionConfig

    text_config: SiglipTextConfig = field(default_factory=Siglip2TextConfig)
    vision_config: VisionConfig = field(default_factory=Siglip2VisionConfig)


def name_architecture(model_type: str, kind: str) -> str:
    """Give what config.json calls a model's class.

    Args:
        model_type: Of a config, a tower's or both towers'.
        kind: The name without the family's number, such as "Model" or "ForImageClassification".
    """
    return ("Siglip2" if model_type.startswith("siglip2") else "Siglip") + kind


def config_from_dict(values: Mapping[str, Any]) -> SiglipConfig:
    """Read a parsed config.json of any member of the family.

    Raises:
        CheckpointError: If it describes another architecture or a value can't be used.
    """
    model_type = values.get("model_type", SiglipConfig.model_type)
    for config_class in (SiglipConfig, Siglip2Config):
        if model_type == config_class.model_type:
            return config_class.from_dict(values)
    raise CheckpointError(
        f"The checkpoint's model_type is {model_type!r}, expected 'siglip' (SigLIP and fixed-resolution SigLIP 2) or "
        "'siglip2' (NaFlex)."
    )


def _read_labels(values: Mapping[Any, Any] | None) -> dict[int, str] | None:
    """Read id2label, whose keys JSON can only hold as text."""
    if values is None:
        return None
    try:
        return {int(index): str(label) for index, label in values.items()}
    except (AttributeError, ValueError) as error:
        raise CheckpointError(f"id2label must map numbers to names, not {values!r}.") from error
