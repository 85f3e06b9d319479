"""Training from nothing: the pairwise sigmoid loss, and a small loop that can stop and go on."""

from siglip_ingest.training.loss import sigmoid_loss
from siglip_ingest.training.optimizer import make_optimizer, schedule_learning_rate
from siglip_ingest.training.trainer import (
    Batch,
    StepLog,
    Trainer,
    TrainingSettings,
    compute_sigmoid_loss,
    score_embeddings,
)

__all__ = [
    "Batch",
    "StepLog",
    "Trainer",
    "TrainingSettings",
    "compute_sigmoid_loss",
    "make_optimizer",
    "schedule_learning_rate",
    "score_embeddings",
    "sigmoid_loss",
]
