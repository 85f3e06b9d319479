"""Names and revisions to folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip import AutoTokenizer
from siglip_ingest.siglip.transformers_api import folders
from siglip_ingest.siglip.transformers_api.folders import find_folder


def test_a_revision_goes_with_a_hub_name_and_not_with_a_folder(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(name: str) -> Path:
        asked.append(name)
        return tiny_checkpoint

    monkeypatch.setattr(folders, "resolve_checkpoint", resolve)
    AutoTokenizer.from_pretrained("google/siglip-base-patch16-224", revision="v1")
    find_folder("google/siglip-base-patch16-224")
    find_folder(tiny_checkpoint, "v1")
    assert asked == ["google/siglip-base-patch16-224@v1", "google/siglip-base-patch16-224", str(tiny_checkpoint)]


def test_a_name_of_nothing_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no/such/folder"):
        find_folder("no/such/folder")
