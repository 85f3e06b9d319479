"""SigLIP in torch: tensors in, tensors out."""

from siglip_ingest.model.checkpoint import load_model, read_config, save_checkpoint
from siglip_ingest.model.config import SiglipConfig, SiglipTextConfig, SiglipVisionConfig
from siglip_ingest.model.siglip import SiglipModel, SiglipOutput

__all__ = [
    "SiglipConfig",
    "SiglipModel",
    "SiglipOutput",
    "SiglipTextConfig",
    "SiglipVisionConfig",
    "load_model",
    "read_config",
    "save_checkpoint",
]
