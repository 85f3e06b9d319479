"""How good a checkpoint is on your own data: zero-shot accuracy, and recall of captions and images.

The numbers are those of the papers' tables. What is kept in memory is one float32 vector an image and a text.
"""

from __future__ import annotations

from siglip_ingest.siglip.evaluation.embedding import SkippedImage
from siglip_ingest.siglip.evaluation.measures import Evaluation, measure_labels, measure_retrieval, read_clip_templates
from siglip_ingest.siglip.evaluation.ranking import find_ranks, share_within

__all__ = [
    "Evaluation",
    "SkippedImage",
    "find_ranks",
    "measure_labels",
    "measure_retrieval",
    "read_clip_templates",
    "share_within",
]
