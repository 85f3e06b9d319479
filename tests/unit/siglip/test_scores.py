"""Similarities to scores."""

import numpy as np
import pytest

from siglip_ingest.siglip.scores import score_similarities, sigmoid


def test_the_sigmoid_is_right_far_out_on_both_sides() -> None:
    with np.errstate(all="raise"):
        scores = sigmoid(np.array([-700.0, -30.0, 0.0, 30.0, 700.0]))
    np.testing.assert_allclose(scores, [np.exp(-700), np.exp(-30) / (1 + np.exp(-30)), 0.5, 1.0, 1.0], rtol=1e-12)


def test_scores_use_the_checkpoints_constants() -> None:
    scores = score_similarities(np.float32([[0.1], [0.2]]), logit_scale=np.log(100.0), logit_bias=-15.0)
    assert scores.shape == (2, 1)
    assert scores[:, 0].tolist() == pytest.approx([1 / (1 + np.exp(5)), 1 / (1 + np.exp(-5))], rel=1e-5)
