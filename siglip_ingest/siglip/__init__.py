"""The door to the family: SigLIP and SigLIP 2 under the names that the documents of transformers use.

    from siglip_ingest.siglip import AutoModel, AutoProcessor, pipeline

Snippets written for transformers run with that import line and the name of a checkpoint: `demo`, a folder, or a hub
name such as `google/siglip2-base-patch16-224`. Underneath are this package's own towers, tokenizers and pixels; nothing
of transformers is needed. Names are loaded when they are first used: importing this imports no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import ConfigurationError

if TYPE_CHECKING:
    from siglip_ingest.siglip.auto import (
        AutoConfig,
        AutoImageProcessor,
        AutoModel,
        AutoModelForImageClassification,
        AutoModelForZeroShotImageClassification,
        AutoProcessor,
        AutoTokenizer,
    )
    from siglip_ingest.siglip.models.classification import Siglip2ForImageClassification, SiglipForImageClassification
    from siglip_ingest.siglip.models.configs import (
        Siglip2Config,
        Siglip2TextConfig,
        Siglip2VisionConfig,
        SiglipConfig,
        SiglipTextConfig,
        SiglipVisionConfig,
    )
    from siglip_ingest.siglip.models.towers import (
        Siglip2Model,
        Siglip2TextModel,
        Siglip2VisionModel,
        SiglipModel,
        SiglipTextModel,
        SiglipVisionModel,
    )
    from siglip_ingest.siglip.pipelines import pipeline
    from siglip_ingest.siglip.processing.image_processors import (
        Siglip2ImageProcessor,
        Siglip2ImageProcessorFast,
        Siglip2ImageProcessorPil,
        SiglipImageProcessor,
        SiglipImageProcessorFast,
        SiglipImageProcessorPil,
    )
    from siglip_ingest.siglip.processing.images import load_image
    from siglip_ingest.siglip.processing.processors import Siglip2Processor, SiglipProcessor
    from siglip_ingest.siglip.processing.tokenizers import Siglip2Tokenizer, SiglipTokenizer

_HOME_OF = {
    "auto": (
        "AutoConfig",
        "AutoImageProcessor",
        "AutoModel",
        "AutoModelForImageClassification",
        "AutoModelForZeroShotImageClassification",
        "AutoProcessor",
        "AutoTokenizer",
    ),
    "models.classification": ("Siglip2ForImageClassification", "SiglipForImageClassification"),
    "models.configs": (
        "Siglip2Config",
        "Siglip2TextConfig",
        "Siglip2VisionConfig",
        "SiglipConfig",
        "SiglipTextConfig",
        "SiglipVisionConfig",
    ),
    "models.towers": (
        "Siglip2Model",
        "Siglip2TextModel",
        "Siglip2VisionModel",
        "SiglipModel",
        "SiglipTextModel",
        "SiglipVisionModel",
    ),
    "pipelines": ("pipeline",),
    "processing.image_processors": (
        "Siglip2ImageProcessor",
        "Siglip2ImageProcessorFast",
        "Siglip2ImageProcessorPil",
        "SiglipImageProcessor",
        "SiglipImageProcessorFast",
        "SiglipImageProcessorPil",
    ),
    "processing.images": ("load_image",),
    "processing.processors": ("Siglip2Processor", "SiglipProcessor"),
    "processing.tokenizers": ("Siglip2Tokenizer", "SiglipTokenizer"),
}
_MODULE_OF = {name: module for module, names in _HOME_OF.items() for name in names}

__all__ = [
    "AutoConfig",
    "AutoImageProcessor",
    "AutoModel",
    "AutoModelForImageClassification",
    "AutoModelForZeroShotImageClassification",
    "AutoProcessor",
    "AutoTokenizer",
    "Siglip2Config",
    "Siglip2ForImageClassification",
    "Siglip2ImageProcessor",
    "Siglip2ImageProcessorFast",
    "Siglip2ImageProcessorPil",
    "Siglip2Model",
    "Siglip2Processor",
    "Siglip2TextConfig",
    "Siglip2TextModel",
    "Siglip2Tokenizer",
    "Siglip2VisionConfig",
    "Siglip2VisionModel",
    "SiglipConfig",
    "SiglipForImageClassification",
    "SiglipImageProcessor",
    "SiglipImageProcessorFast",
    "SiglipImageProcessorPil",
    "SiglipModel",
    "SiglipProcessor",
    "SiglipTextConfig",
    "SiglipTextModel",
    "SiglipTokenizer",
    "SiglipVisionConfig",
    "SiglipVisionModel",
    "load_image",
    "pipeline",
]


def __getattr__(name: str) -> Any:
    if name == "BitsAndBytesConfig":
        raise ConfigurationError(
            "Quantized weights aren't supported: leave BitsAndBytesConfig out, and choose dtype=torch.bfloat16, which "
            "halves the memory."
        )
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_MODULE_OF[name]}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("siglip_ingest"):
            raise
        raise ConfigurationError(
            f"{name} needs {error.name}, which isn't installed: pip install 'siglip-ingest[model]'."
        ) from error
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
