"""SigLIP in torch: tensors in, tensors out."""

from siglip_ingest.siglip.model.classification import SiglipClassifier
from siglip_ingest.siglip.model.config import (
    Siglip2Config,
    Siglip2TextConfig,
    Siglip2VisionConfig,
    SiglipConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    config_from_dict,
)
from siglip_ingest.siglip.model.layers import set_attention
from siglip_ingest.siglip.model.siglip import SiglipModel, SiglipOutput

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
    "set_attention",
]
