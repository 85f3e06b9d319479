from __future__ import annotations

from itertools import pairwise

import pytest

from siglip_ingest.siglip.model import SiglipConfig, SiglipModel
from siglip_ingest.siglip.training import make_optimizer, schedule_learning_rate
from tests.checkpoints import tiny_config


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine() -> None:
    rates = [schedule_learning_rate(step, steps=110, warmup_steps=10, peak=2.0) for step in range(110)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert rates[60] == pytest.approx(1.0)
    assert rates[109] < 0.001
    assert all(earlier >= later for earlier, later in pairwise(rates[9:]))


def test_every_parameter_is_trained_and_only_matrices_decay() -> None:
    model = SiglipModel(SiglipConfig.from_dict(tiny_config()))
    optimizer = make_optimizer(model, weight_decay=0.1, logit_factor=10.0)
    matrices, vectors, constants = optimizer.param_groups
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    assert {parameter.ndim for parameter in matrices["params"]} >= {2, 4}
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0, 0.0]
    assert all(parameter.ndim == 1 for parameter in vectors["params"])
    assert constants["params"] == [model.logit_scale, model.logit_bias]
    assert constants["factor"] == 10.0
