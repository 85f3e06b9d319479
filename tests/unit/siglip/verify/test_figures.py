from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.verify import Verdict, compare_figures, take_figures
from siglip_ingest.siglip.verify.figures import strip_padding
from siglip_ingest.siglip.verify.report import compare_numbers
from tests.checkpoints import write_tiny_checkpoint


def test_another_dimension_differs_and_does_not_raise(tmp_path: Path, tiny_checkpoint: Path) -> None:
    other = write_tiny_checkpoint(tmp_path / "wide", hidden=48)
    one, two = (
        take_figures(TorchEmbedder.from_checkpoint(folder, name="x", device="cpu"))
        for folder in (tiny_checkpoint, other)
    )
    verdicts = {row.what: row.verdict for row in compare_figures(two, one)}
    assert verdicts["vector of test_card (cosine)"] is Verdict.MISMATCH


def test_what_is_no_number_never_matches() -> None:
    assert compare_numbers("x", 1.0, float("nan"), atol=1.0).verdict is Verdict.MISMATCH
    assert compare_numbers("x", 1.0, float("inf"), atol=float("inf")).verdict is Verdict.MISMATCH


def test_vectors_of_another_length_are_refused(tiny_checkpoint: Path) -> None:
    class Twice(TorchEmbedder):
        def embed_tokens(self, input_ids: Any) -> Any:
            return 2 * super().embed_tokens(input_ids)

    with pytest.raises(CheckpointError, match="vectors of length 1 to 2, expected 1"):
        take_figures(Twice.from_checkpoint(tiny_checkpoint, name="twice", device="cpu"))


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        pytest.param([5, 6, 1, 1, 1], [5, 6, 1], id="SigLIP: padding is the final token"),
        pytest.param([5, 6, 1, 0, 0], [5, 6, 1, 0], id="SigLIP 2"),
        pytest.param([1, 1, 1], [1], id="nothing else"),
        pytest.param([5, 6, 7, 1], [5, 6, 7, 1], id="full"),
    ],
)
def test_padding_is_stripped_but_for_its_first(ids: list[int], kept: list[int]) -> None:
    assert strip_padding(ids) == kept
