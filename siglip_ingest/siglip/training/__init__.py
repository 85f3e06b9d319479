"""Training: the pairwise sigmoid loss over one process or several, a loop that can stop and go on, and fine-tuning."""

from siglip_ingest.siglip.training.distributed.process_group import ProcessGroup, join_processes
from siglip_ingest.siglip.training.distributed.ring_loss import ring_sigmoid_loss
from siglip_ingest.siglip.training.loss import sigmoid_loss
from siglip_ingest.siglip.training.objectives import (
    Batch,
    ClassBatch,
    compute_class_loss,
    compute_ring_loss,
    compute_sigmoid_loss,
    score_embeddings,
)
from siglip_ingest.siglip.training.optimizer import make_optimizer, schedule_learning_rate
from siglip_ingest.siglip.training.trainer import StepLog, Trainer, TrainingSettings

__all__ = [
    "Batch",
    "ClassBatch",
    "ProcessGroup",
    "StepLog",
    "Trainer",
    "TrainingSettings",
    "compute_class_loss",
    "compute_ring_loss",
    "compute_sigmoid_loss",
    "join_processes",
    "make_optimizer",
    "ring_sigmoid_loss",
    "schedule_learning_rate",
    "score_embeddings",
    "sigmoid_loss",
]
