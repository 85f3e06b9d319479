"""The model arranged for inference, which the embedder runs; training and everything else run `SiglipModel`."""

from siglip_ingest.siglip.inference.model import InferenceModel

__all__ = ["InferenceModel"]
