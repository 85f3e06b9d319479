"""Chooses the image processor and the tokenizer that a checkpoint's files name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from siglip_ingest.siglip.preprocess.image import PREPROCESSOR_FILE, read_image_processor
from siglip_ingest.siglip.tokenizer.loading import find_tokenizer_file
from siglip_ingest.siglip.tokenizer.sentencepiece import SENTENCEPIECE_FILE
from siglip_ingest.siglip.transformers_api.processing.image_processors import (
    Siglip2ImageProcessor,
    SiglipImageProcessor,
)
from siglip_ingest.siglip.transformers_api.processing.tokenizer_base import PreTrainedTokenizer
from siglip_ingest.siglip.transformers_api.processing.tokenizers import Siglip2Tokenizer, SiglipTokenizer


def load_image_processor(folder: Path, **settings: Any) -> SiglipImageProcessor:
    """Load the image processor that a checkpoint's image settings ask for; `settings` go before them.

    Raises:
        CheckpointError: If there are none, or they can't be used.
    """
    values = read_image_processor(folder / PREPROCESSOR_FILE)
    settings.pop("use_fast", None)
    kind = str(values.get("image_processor_type") or values.get("processor_class") or "")
    is_naflex = kind.startswith("Siglip2") or "max_num_patches" in values
    return (Siglip2ImageProcessor if is_naflex else SiglipImageProcessor).from_dict(values | settings)


def load_tokenizer(folder: Path, **changes: Any) -> PreTrainedTokenizer:
    """Load the tokenizer whose file a checkpoint has: SigLIP's (sentencepiece) or SigLIP 2's (Gemma's).

    Raises:
        CheckpointError: If there is none, or it can't be used.
    """
    is_sentencepiece = find_tokenizer_file(folder).name == SENTENCEPIECE_FILE
    return (SiglipTokenizer if is_sentencepiece else Siglip2Tokenizer).from_folder(folder, **changes)
