from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.verify.comparison import Comparison
from siglip_ingest.siglip.verify.figures import (
    compare_figures,
    read_figures,
    sum_tensors,
    take_figures,
    write_figures,
)
from tests.checkpoints import write_tiny_checkpoint


def test_another_dimension_differs_and_does_not_raise(tmp_path: Path, tiny_checkpoint: Path) -> None:
    other = write_tiny_checkpoint(tmp_path / "wide", hidden=48)
    one, two = (
        take_figures(TorchEmbedder.from_checkpoint(folder, name="x", device="cpu"))
        for folder in (tiny_checkpoint, other)
    )
    (row,) = (row for row in compare_figures(two, one) if "dimension" in row.what)
    assert (row.expected, row.found, row.is_mismatch) == (32, 48, True)


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        pytest.param(Comparison("x", 1.0, 1.25, "", 0.25), "match", id="at the tolerance"),
        pytest.param(Comparison("x", 1.0, 1.5, "", 0.25), "mismatch", id="beyond it"),
        pytest.param(Comparison("x", 1.0, float("nan"), "", 1.0), "mismatch", id="not a number"),
        pytest.param(Comparison("x", 1.0, float("inf"), "", float("inf")), "mismatch", id="infinity"),
        pytest.param(Comparison("x", [1, 2], [1, 2], ""), "match", id="equal"),
        pytest.param(Comparison("x", [1, 2], [1, 3], ""), "mismatch", id="not equal"),
        pytest.param(Comparison("x", 1.0, None, "", 1.0, "no image"), "not_compared", id="nothing found"),
    ],
)
def test_a_comparison_has_a_verdict(row: Comparison, verdict: str) -> None:
    assert row.verdict == verdict
    assert row.is_mismatch == (verdict == "mismatch")


def test_vectors_of_another_length_are_refused(tiny_checkpoint: Path) -> None:
    class Twice(TorchEmbedder):
        def embed_tokens(self, input_ids: Any) -> Any:
            return 2 * super().embed_tokens(input_ids)

    with pytest.raises(CheckpointError, match="vectors of length 1 to 2, expected 1"):
        take_figures(Twice.from_checkpoint(tiny_checkpoint, name="twice", device="cpu"))


def test_weights_are_counted_and_summed(tiny_checkpoint: Path) -> None:
    tensors = load_file(tiny_checkpoint / "model.safetensors")
    assert sum_tensors(tiny_checkpoint).keys() == tensors.keys()
    assert WeightReader(tiny_checkpoint).count_parameters() == sum(tensor.numel() for tensor in tensors.values())


def test_figures_are_kept_by_revision_and_a_folders_by_name(tmp_path: Path, tiny_checkpoint: Path) -> None:
    home = tmp_path / "home" / "figures"
    figures = take_figures(TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu"))
    assert read_figures(home, "/photos model", figures["revision"]) is None
    write_figures(home, "/photos model", figures)
    assert read_figures(home, "/photos model", "sha256:another") == figures
    assert read_figures(home, "/other", figures["revision"]) is None

    first = figures | {"revision": "1" * 40}
    write_figures(home, "google/a", first)
    assert read_figures(home, "google/a", "2" * 40) is None
    write_figures(home, "google/a", figures | {"revision": "2" * 40})
    assert read_figures(home, "google/a", "1" * 40) == first
    replaced = write_figures(home, "/photos model", figures | {"revision": "sha256:another"})
    assert len(list(home.iterdir())) == 3
    replaced.write_text("{")
    with pytest.raises(InvalidInputError, match=r"can't be read .*--update"):
        read_figures(home, "/photos model", "sha256:another")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"can't be written.*SIGLIP_HOME"):
        write_figures(tmp_path / "file" / "figures", "x", figures)


def test_a_record_of_another_version_is_refused(tiny_checkpoint: Path) -> None:
    figures = take_figures(TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu"))
    with pytest.raises(InvalidInputError, match=r"earlier figures can't be read .*--update"):
        compare_figures(figures, {"of": "another version"})
