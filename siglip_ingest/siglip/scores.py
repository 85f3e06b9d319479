"""Turns similarities into scores: the sigmoid with the checkpoint's two constants ("SigLIP", section 3.2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def sigmoid(logits: NDArray[np.floating[Any]] | float) -> NDArray[np.float64]:
    """Compute 1 / (1 + exp(-logits)) without overflow, float64 in [0, 1] of the same shape."""
    # exp(-log(1 + exp(-x))): logaddexp takes large numbers of both signs.
    result: NDArray[np.float64] = np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64)))
    return result


def score_similarities(
    similarities: NDArray[np.floating[Any]] | float, *, logit_scale: float, logit_bias: float
) -> NDArray[np.float64]:
    """Turn cosines into the model's probabilities that image and text belong together.

    Args:
        similarities: Cosines in [-1, 1], of any shape.
        logit_scale: As in the checkpoint, a logarithm.
        logit_bias: As in the checkpoint.

    Returns:
        sigmoid(exp(logit_scale) * similarity + logit_bias), float64 in [0, 1] of the same shape.
    """
    return sigmoid(np.asarray(similarities, dtype=np.float64) * math.exp(logit_scale) + logit_bias)
