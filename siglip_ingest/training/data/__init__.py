"""What a checkpoint is fine-tuned on: files on disk, found once, read and decoded batch by batch."""

from siglip_ingest.training.data.batches import ClassBatches, PairBatches, Pictures
from siglip_ingest.training.data.examples import Example, TrainingData, find_classes, find_pairs

__all__ = ["ClassBatches", "Example", "PairBatches", "Pictures", "TrainingData", "find_classes", "find_pairs"]
