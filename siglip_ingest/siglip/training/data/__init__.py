"""What a checkpoint is fine-tuned on: files on disk, found once, read and decoded batch by batch."""

from siglip_ingest.siglip.training.data.batches import ClassBatches, PairBatches, Pictures
from siglip_ingest.siglip.training.data.examples import Example, TrainingData
from siglip_ingest.siglip.training.data.finding import find_classes, find_pairs

__all__ = ["ClassBatches", "Example", "PairBatches", "Pictures", "TrainingData", "find_classes", "find_pairs"]
