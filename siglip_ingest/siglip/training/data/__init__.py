"""Data sets for fine-tuning: images on disk with captions or classes, decoded batch by batch."""

from siglip_ingest.siglip.training.data.batches import ClassBatches, ImageReader, PairBatches
from siglip_ingest.siglip.training.data.examples import Example, TrainingData
from siglip_ingest.siglip.training.data.finding import find_classes, find_pairs

__all__ = ["ClassBatches", "Example", "ImageReader", "PairBatches", "TrainingData", "find_classes", "find_pairs"]
