"""What a checkpoint's name may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.siglip.checkpoint.names import DEMO_FOLDER, HubName, model_name, parse_name
from tests.unit.siglip.checkpoint.hub_server import COMMIT

BAD_REVISIONS = ["a/b@", "a/b@../x", "a/b@x/../y", "a/b@/x", "a/b@x/", "a/b@x y", "@main", "a/b@x@y"]


def test_a_folder_is_itself_under_its_absolute_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_checkpoint.parent)
    assert model_name(tiny_checkpoint.name) == str(tiny_checkpoint.resolve())
    assert resolve_checkpoint(f"./{tiny_checkpoint.name}") == tiny_checkpoint.resolve()


def test_demo_is_the_checkpoint_that_comes_along() -> None:
    assert model_name("demo") == "demo"
    assert resolve_checkpoint("demo") == DEMO_FOLDER
    assert (DEMO_FOLDER / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("google/siglip2-base-patch16-224", HubName("google/siglip2-base-patch16-224")),
        ("a/b@main", HubName("a/b", "main")),
        ("a/b@v1.0-rc", HubName("a/b", "v1.0-rc")),
        ("a/b@refs/pr/1", HubName("a/b", "refs/pr/1")),
        (f"a/b@{COMMIT}", HubName("a/b", COMMIT)),
    ],
)
def test_a_hub_name_may_have_a_revision(name: str, parts: HubName) -> None:
    assert parse_name(name) == parts
    assert model_name(name) == str(parts) == name
    assert parts.is_commit == (parts.revision == COMMIT)


@pytest.mark.parametrize(
    "name", ["", "siglip", "/no/such/folder", "./missing", "a/b/c", "~nobody-here/x", "org/", "x\0y", *BAD_REVISIONS]
)
def test_a_name_of_nothing_says_what_is_accepted(name: str) -> None:
    with pytest.raises(CheckpointError, match="names no checkpoint") as raised:
        resolve_checkpoint(name)
    for accepted in ("folder", "hub name", "demo"):
        assert accepted in str(raised.value)
