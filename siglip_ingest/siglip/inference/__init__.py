"""A checkpoint arranged for inference: what the embedder runs. Training and everything else run `SiglipModel`."""

from siglip_ingest.siglip.inference.model import InferenceModel

__all__ = ["InferenceModel"]
