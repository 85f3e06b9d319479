"""SigLIP in torch: tensors in, tensors out."""

from siglip_ingest.model.checkpoint import load_model, read_config, save_checkpoint
from siglip_ingest.model.classification import SiglipClassifier
from siglip_ingest.model.config import (
    Siglip2Config,
    Siglip2TextConfig,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    config_from_dict,
)
from siglip_ingest.model.layers import set_attention
from siglip_ingest.model.siglip import SiglipModel, SiglipOutput

__all__ = [
    "Siglip2Config",
    "Siglip2TextConfig",
    "Siglip2VisionConfig",
    "SiglipClassifier",
    "SiglipConfig",
    "SiglipModel",
    "SiglipOutput",
    "SiglipTextConfig",
    "SiglipVisionConfig",
    "config_from_dict",
    "load_model",
    "read_config",
    "save_checkpoint",
    "set_attention",
]
