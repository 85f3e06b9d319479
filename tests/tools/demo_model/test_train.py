from __future__ import annotations

from pathlib import Path

import click
import pytest

from tools.demo_model.train import check_recipe


def test_a_run_goes_on_only_with_the_recipe_that_it_was_started_with(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    check_recipe(path, {"steps": 10})
    check_recipe(path, {"steps": 10})
    with pytest.raises(click.UsageError, match="Empty it"):
        check_recipe(path, {"steps": 20})
