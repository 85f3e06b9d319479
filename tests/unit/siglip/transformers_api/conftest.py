"""Small checkpoints of both kinds, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checkpoints import write_tiny_checkpoint


@pytest.fixture(scope="session")
def naflex_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("naflex"), is_naflex=True)


@pytest.fixture(params=["fixed", "naflex"])
def checkpoint(request: pytest.FixtureRequest, tiny_checkpoint: Path, naflex_checkpoint: Path) -> Path:
    return tiny_checkpoint if request.param == "fixed" else naflex_checkpoint
