"""`siglip-ingest verify`, in this process: no services are needed for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

from siglip_ingest.cli import cli
from siglip_ingest.db import Database
from siglip_ingest.db.models import get_model, model_figures, register_model, store_model_figures
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.siglip import verify as library
from siglip_ingest.siglip.verify import published as table
from tests.workers.helpers import write_image

Verify = Callable[..., Result]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verify:
    """Run the command with a home of its own; `return_value` is its exit status."""
    monkeypatch.setenv("SIGLIP_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> Result:
        done = CliRunner().invoke(cli, ["verify", *map(str, arguments)], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done

    return run


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> table.Published:
    """A table in which one number is right, one wrong, and one of a photograph."""
    facts: dict[str, Any] = {
        "logit_bias": {"value": -10.0, "atol": 1e-3, "source": "a paper"},
        "parameters": {"value": 3, "source": "a paper"},
        "scores": [{"image": "cats", "texts": ["cat"], "probabilities": [0.5], "atol": 1.0, "source": "a blog"}],
    }
    images = {"cats": {"file": "cats", "url": "http://127.0.0.1:1/cats.jpg"}}
    entry = {**facts, "name": "google/tiny", "tokens": None, "images": images}
    monkeypatch.setattr(table, "load_table", lambda: {"google/tiny": entry})
    return entry


def use_other_filter(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "resample": 2}))


def test_the_first_run_keeps_figures_and_the_next_ones_compare(verify: Verify, checkpoint: Path) -> None:
    first = verify(checkpoint)
    assert first.return_value == 0
    assert "Its figures are kept for the next time: " in first.output
    assert "Nothing was compared: no numbers are published" in first.output
    second = verify(checkpoint)
    assert second.return_value == 0
    assert "0 differ, 0 were not compared." in second.output
    assert "matches" not in second.output
    assert "logit of test_card" in verify(checkpoint, "--all").output


def test_a_changed_checkpoint_is_exit_status_1_with_a_table_until_it_is_accepted(
    verify: Verify, checkpoint: Path
) -> None:
    verify(checkpoint)
    use_other_filter(checkpoint)
    for _ in range(2):  # what differs isn't kept
        changed = verify(checkpoint)
        assert changed.return_value == 1
        lines = [line.split() for line in changed.output.splitlines() if line.startswith("DIFFERS")]
        assert lines[0] == ["DIFFERS", "image", "settings:", "resample", "3", "2", "earlier"]
        assert "matches" not in changed.output
        assert changed.output.splitlines()[-1].endswith(
            f"if the change is meant, accept it: siglip-ingest verify {checkpoint} --update"
        )
    assert verify(checkpoint, "--update").return_value == 0
    assert verify(checkpoint).return_value == 0


def test_of_much_that_differs_the_first_is_listed(verify: Verify, checkpoint: Path) -> None:
    verify(checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    save_file(
        {name: values if "logit" in name else values * 1.5 for name, values in weights.items()},
        checkpoint / "model.safetensors",
    )
    changed = verify(checkpoint).output
    assert sum(line.startswith("DIFFERS") for line in changed.splitlines()) == 10
    (more,) = [line for line in changed.splitlines() if line.endswith("--all lists them.")]
    everything = verify(checkpoint, "--all").output
    assert sum(line.startswith("DIFFERS") for line in everything.splitlines()) == 10 + int(more.split()[2])
    assert "--all lists them" not in everything


@pytest.mark.parametrize("folder", ["nothere", "checkpoint/config.json"])
def test_a_folder_of_images_that_is_none_is_refused(verify: Verify, checkpoint: Path, folder: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is no folder: --images names"):
        verify("demo", "--images", checkpoint.parent / folder)


def test_published_numbers_are_compared_where_a_person_says_what_it_is(
    verify: Verify, checkpoint: Path, published: table.Published
) -> None:
    done = verify(checkpoint, "--as", "google/tiny", "--no-fetch")
    assert done.return_value == 1
    assert "compared as google/tiny" in done.output
    assert "It isn't what is published as google/tiny: " in done.output.splitlines()[-1]
    assert "DIFFERS       parameters" in done.output
    assert "not compared  probability of cats and 'cat'" in done.output
    assert "Not compared: cats.jpg isn't here; get it from http://127.0.0.1:1/cats.jpg" in done.output
    assert not (checkpoint.parent / "home").exists()  # the figures of what isn't as published aren't kept
    with pytest.raises(InvalidInputError, match="google/none"):
        verify(checkpoint, "--as", "google/none")


def test_json_says_all_of_it(verify: Verify, checkpoint: Path, published: table.Published) -> None:
    write_image(checkpoint.parent / "cats.png", 1)
    done = verify(checkpoint, "--as", "google/tiny", "--images", checkpoint.parent, "--json")
    report = json.loads(done.stdout)
    assert (report["is_match"], done.return_value) == (False, 1)
    assert report["published_as"] == "google/tiny"
    assert report["dtype"] == "float32"
    assert report["counts"] == {"match": 2, "mismatch": 1, "not_compared": 0}
    rows = {row["what"]: row for row in report["comparisons"]}
    assert rows["parameters"] | {"found": 0} == {
        "what": "parameters",
        "expected": 3,
        "found": 0,
        "verdict": "mismatch",
        "difference": None,
        "tolerance": None,
        "reason": None,
        "source": "a paper",
    }
    assert 0 <= rows["probability of cats and 'cat'"]["found"] <= 1


def test_the_databases_figures_are_compared_and_replaced(
    verify: Verify, checkpoint: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siglip_ingest.siglip.embedder import TorchEmbedder

    monkeypatch.setenv("SIGLIP_DATABASE_URL", database_url)
    with pytest.raises(NotFoundError, match="has no model"):
        verify(checkpoint, "--database")
    embedder = TorchEmbedder.from_checkpoint(checkpoint, name=str(checkpoint), device="cpu")
    with Database(database_url) as database:
        with database.connection() as connection:
            model_id = register_model(connection, str(checkpoint), embedder.info.revision)
        assert "has no figures yet" in verify(checkpoint, "--database").output
        with database.connection() as connection:
            stored = store_model_figures(connection, model_id, library.check_at_start(embedder))
        assert verify(checkpoint, "--database").return_value == 0
        use_other_filter(checkpoint)
        changed = verify(checkpoint, "--database")
        assert changed.return_value == 1
        assert [line.split()[-1] for line in changed.output.splitlines() if "resample" in line] == [
            "earlier",
            "database",
        ]
        assert "Replaced the database's figures" in verify(checkpoint, "--database", "--update").output
        assert verify(checkpoint, "--database").return_value == 0
        with database.connection() as connection:
            replaced = model_figures(connection, model_id)
            assert get_model(connection, model_id).info is None
    assert replaced is not None
    assert replaced != stored
    assert replaced.keys() == stored.keys()
    assert list(replaced["texts"]) == list(stored["texts"])


def test_the_demo_checkpoint_verifies(verify: Verify) -> None:
    assert verify("demo").return_value == 0
    assert verify("demo").return_value == 0
