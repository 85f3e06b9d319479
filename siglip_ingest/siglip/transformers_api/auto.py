"""`AutoModel`, `AutoProcessor` and the other Auto classes: they choose the class that a checkpoint's files name."""

from __future__ import annotations

from typing import Any

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.transformers_api.folders import Name, find_folder
from siglip_ingest.siglip.transformers_api.models.classification import (
    Siglip2ForImageClassification,
    SiglipForImageClassification,
)
from siglip_ingest.siglip.transformers_api.models.configs import CONFIG_CLASSES, AnyConfig, read_config, read_model_type
from siglip_ingest.siglip.transformers_api.models.pretrained import PreTrainedModel
from siglip_ingest.siglip.transformers_api.models.towers import (
    Siglip2Model,
    Siglip2TextModel,
    Siglip2VisionModel,
    SiglipModel,
    SiglipTextModel,
    SiglipVisionModel,
)
from siglip_ingest.siglip.transformers_api.processing.image_processors import (
    Siglip2ImageProcessor,
    SiglipImageProcessor,
)
from siglip_ingest.siglip.transformers_api.processing.loading import load_image_processor, load_tokenizer
from siglip_ingest.siglip.transformers_api.processing.processors import Siglip2Processor, SiglipProcessor
from siglip_ingest.siglip.transformers_api.processing.tokenizer_base import PreTrainedTokenizer

_MODELS: dict[str, type[PreTrainedModel]] = {
    "siglip": SiglipModel,
    "siglip2": Siglip2Model,
    "siglip_text_model": SiglipTextModel,
    "siglip2_text_model": Siglip2TextModel,
    "siglip_vision_model": SiglipVisionModel,
    "siglip2_vision_model": Siglip2VisionModel,
}
_CLASSIFIERS: dict[str, type[PreTrainedModel]] = {
    "siglip": SiglipForImageClassification,
    "siglip2": Siglip2ForImageClassification,
}


class AutoConfig:
    """A checkpoint's config, in the class that its model_type asks for."""

    @staticmethod
    def from_pretrained(name: Name, *, revision: str | None = None, **changes: Any) -> AnyConfig:
        """Read it; `changes` are fields to have another value.

        Raises:
            CheckpointError: If there is no such checkpoint, or it is of another architecture.
        """
        folder = find_folder(name, revision)
        config_class = CONFIG_CLASSES.get(read_model_type(folder))
        return read_config(folder, None if config_class is None else config_class.part, **changes)


class _AutoModel:
    """Models by model_type."""

    classes: dict[str, type[PreTrainedModel]]

    @classmethod
    def from_pretrained(cls, name: Name, *, revision: str | None = None, **options: Any) -> Any:
        """Load a checkpoint; `options` are those of `SiglipModel.from_pretrained`.

        Raises:
            CheckpointError: If there is no such checkpoint, or it is of another architecture.
        """
        folder = find_folder(name, revision)
        model_type = read_model_type(folder)
        if model_type not in cls.classes:
            read_config(folder)  # says what is wrong
        return cls.classes[model_type].from_pretrained(folder, **options)

    @classmethod
    def from_config(cls, config: AnyConfig, *, attn_implementation: str | None = None) -> Any:
        """Make a model with random weights.

        Raises:
            InvalidInputError: If there is no such model for that config.
        """
        if config.model_type not in cls.classes:
            raise InvalidInputError(f"{cls.__name__} has no model for {type(config).__name__}.")
        model = cls.classes[config.model_type](config)
        if attn_implementation is not None:
            model.set_attn_implementation(attn_implementation)
        return model


class AutoModel(_AutoModel):
    """`SiglipModel` or `Siglip2Model`; a tower's class where the checkpoint is one tower alone."""

    classes = _MODELS


class AutoModelForZeroShotImageClassification(_AutoModel):
    """The same: both towers score labels."""

    classes = _MODELS


class AutoModelForImageClassification(_AutoModel):
    """`SiglipForImageClassification` or its twin."""

    classes = _CLASSIFIERS


class AutoTokenizer:
    """The tokenizer whose file a checkpoint has, SigLIP's or SigLIP 2's."""

    @staticmethod
    def from_pretrained(name: Name, *, revision: str | None = None, **changes: Any) -> PreTrainedTokenizer:
        """Load it; `changes` are constructor arguments to have another value, such as `model_max_length`.

        Raises:
            CheckpointError: If there is no such checkpoint, or it has no tokenizer.
        """
        return load_tokenizer(find_folder(name, revision), **changes)


class AutoImageProcessor:
    """The image processor that a checkpoint asks for, for images of one size or NaFlex."""

    @staticmethod
    def from_pretrained(name: Name, *, revision: str | None = None, **settings: Any) -> SiglipImageProcessor:
        """Load it; `settings` go before the checkpoint's.

        Raises:
            CheckpointError: If there is no such checkpoint, or it has no image settings.
        """
        return load_image_processor(find_folder(name, revision), **settings)


class AutoProcessor:
    """Image processor and tokenizer of a checkpoint in one."""

    @staticmethod
    def from_pretrained(name: Name, *, revision: str | None = None, **settings: Any) -> SiglipProcessor:
        """Load both; `settings` are the image processor's and go before the checkpoint's.

        Raises:
            CheckpointError: If there is no such checkpoint, or its files can't be used.
        """
        folder = find_folder(name, revision)
        images = load_image_processor(folder, **settings)
        kind = Siglip2Processor if isinstance(images, Siglip2ImageProcessor) else SiglipProcessor
        return kind(images, load_tokenizer(folder))
