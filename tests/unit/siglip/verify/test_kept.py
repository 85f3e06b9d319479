from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.verify import KeptFigures, take_figures


def test_figures_are_kept_by_revision_and_a_folder_s_by_name(tmp_path: Path, tiny_checkpoint: Path) -> None:
    kept = KeptFigures(tmp_path / "home" / "figures")
    figures = take_figures(TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu"))
    assert kept.read("/photos model", figures.revision) is None
    kept.write("/photos model", figures)
    found = kept.read("/photos model", "sha256:another")
    assert found is not None
    assert found.to_dict() == figures.to_dict()
    assert kept.read("/other", figures.revision) is None

    of_hub = replace(figures, revision="1" * 40)
    kept.write("google/a", of_hub)
    assert kept.read("google/a", "2" * 40) is None
    kept.write("google/a", replace(figures, revision="2" * 40))
    assert kept.read("google/a", "1" * 40) is not None
    replaced = kept.write("/photos model", replace(figures, revision="sha256:another"))
    assert len(list(replaced.parent.iterdir())) == 3
    replaced.write_text("{")
    with pytest.raises(InvalidInputError, match=r"can't be read .*--update"):
        kept.read("/photos model", "sha256:another")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"can't be written.*SIGLIP_HOME"):
        KeptFigures(tmp_path / "file" / "figures").write("x", figures)
