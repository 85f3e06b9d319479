"""Pairs of models, made once a session."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import tiny_config
from tests.parity.pairs import Pair, make_pair
from tests.parity.transformers_pairs import KINDS, write_checkpoint


def _small_config() -> dict[str, Any]:
    config = tiny_config(hidden=64)
    config["text_config"]["num_hidden_layers"] = 3
    config["vision_config"]["patch_size"] = 9  # doesn't divide 32: the border is not used
    return config


@pytest.fixture(scope="session", params=["eager", "sdpa"])
def small_pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(_small_config(), tmp_path_factory.mktemp("small"), images=3, texts=4, attention=request.param)


@pytest.fixture(
    scope="session",
    params=["small-eager", "small-sdpa", pytest.param("base-patch16-224", marks=pytest.mark.slow)],
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    if request.param == "base-patch16-224":  # its config.json says nothing but defaults
        return make_pair({"text_config": {}, "vision_config": {}}, folder, images=2, texts=2)
    return make_pair(_small_config(), folder, images=3, texts=4, attention=request.param.removeprefix("small-"))


@pytest.fixture(scope="session")
def reference_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small checkpoint of each of `tests.parity.transformers_pairs.KINDS`, saved by transformers."""
    return {kind: write_checkpoint(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}
