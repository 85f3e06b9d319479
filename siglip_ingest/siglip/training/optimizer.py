"""AdamW as SigLIP uses it, and a learning rate that warms up and then falls along a cosine."""

from __future__ import annotations

import math

import torch
from torch import nn


def make_optimizer(
    model: nn.Module, *, weight_decay: float, logit_factor: float = 1.0, betas: tuple[float, float] = (0.9, 0.95)
) -> torch.optim.AdamW:
    """Make AdamW with decay on matrices only: not on biases, norms, or the logit's two constants.

    Args:
        model: Its parameters that record gradients are trained.
        weight_decay: Of matrices.
        logit_factor: How much faster than the rest the logit's constants learn; kept in their group's `factor`.
        betas: A second one below AdamW's usual 0.999 keeps training stable (paper, section 3.3).
    """
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    constants = [p for name, p in trained if _is_logit_constant(name)]
    weights = [p for name, p in trained if not _is_logit_constant(name)]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay, "factor": 1.0},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
        {"params": constants, "weight_decay": 0.0, "factor": logit_factor},
    ]
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def schedule_learning_rate(step: int, *, steps: int, warmup_steps: int, peak: float) -> float:
    """Return a step's learning rate (from 0): a line up to `peak`, then half a cosine down to 0 after the last step."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def _is_logit_constant(name: str) -> bool:
    return name.rpartition(".")[2] in {"logit_scale", "logit_bias"}
