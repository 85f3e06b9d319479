"""What names a checkpoint's content, and what is remembered of it."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint import revisions
from siglip_ingest.siglip.checkpoint.revisions import find_revision

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[list[Path]]:
    """What was hashed; small files are remembered too, and right away."""
    calls: list[list[Path]] = []
    original = revisions._hash

    def hash_and_note(paths: list[Path]) -> str:
        calls.append(paths)
        return original(paths)

    monkeypatch.setattr(revisions, "_hash", hash_and_note)
    monkeypatch.setattr(revisions, "LEAST_CACHED_BYTES", 0)
    monkeypatch.setattr(revisions, "SETTLED_S", -60.0)
    return calls


def write_weights(folder: Path, content: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    return folder


def revision_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_the_revision_of_a_hub_snapshot_is_its_commit(tmp_path: Path) -> None:
    assert find_revision(tmp_path / "models--a--b" / "snapshots" / COMMIT) == COMMIT


def test_the_revision_of_a_folder_is_the_hash_of_its_weights(tmp_path: Path) -> None:
    assert find_revision(write_weights(tmp_path, b"abc")) == revision_of(b"abc")


def test_shards_count_in_their_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    index = {"weight_map": {"y": "b.safetensors", "x": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert find_revision(tmp_path) == revision_of(b"ab")


def test_a_folder_without_weights_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        find_revision(tmp_path, cache=tmp_path / "cache.json")


def test_weights_that_have_not_changed_are_hashed_once(tmp_path: Path, hashed: list[list[Path]]) -> None:
    folder, cache = write_weights(tmp_path / "model", b"abc"), tmp_path / "new" / "cache.json"
    for _ in range(3):
        assert find_revision(folder, cache=cache) == revision_of(b"abc")
    assert len(hashed) == 1
    other = write_weights(tmp_path / "other", b"xyz")
    assert find_revision(other, cache=cache) == revision_of(b"xyz")
    assert find_revision(folder, cache=cache) == revision_of(b"abc")
    assert len(hashed) == 2
    assert [path.name for path in cache.parent.iterdir()] == ["cache.json"]


def test_weights_changed_in_place_are_noticed_even_if_their_size_and_time_are_set_back(
    tmp_path: Path, hashed: list[list[Path]]
) -> None:
    folder, cache = write_weights(tmp_path / "model", b"abc"), tmp_path / "cache.json"
    find_revision(folder, cache=cache)
    path = folder / "model.safetensors"
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"xyz")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (before.st_size, before.st_mtime_ns, before.st_ino)
    assert find_revision(folder, cache=cache) == revision_of(b"xyz")
    assert len(hashed) == 2


def test_weights_that_were_only_just_written_are_not_remembered(
    tmp_path: Path, hashed: list[list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "SETTLED_S", 60.0)
    folder, cache = write_weights(tmp_path / "model", b"abc"), tmp_path / "cache.json"
    for _ in range(2):
        find_revision(folder, cache=cache)
    assert len(hashed) == 2
    assert not cache.exists()


def test_small_weights_leave_nothing_behind(tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    assert find_revision(write_weights(tmp_path / "model", b"abc"), cache=cache) == revision_of(b"abc")
    assert not cache.exists()


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"FOLDER": {"files": [], "revision": "sha256:1"}}', '{"FOLDER": 1}']
)
def test_a_broken_or_outdated_memory_is_written_anew(tmp_path: Path, hashed: list[list[Path]], content: str) -> None:
    folder, cache = write_weights(tmp_path / "model", b"abc"), tmp_path / "cache.json"
    cache.write_text(content.replace("FOLDER", str(folder)))
    for _ in range(2):
        assert find_revision(folder, cache=cache) == revision_of(b"abc")
    assert len(hashed) == 1


def test_a_memory_that_cannot_be_written_is_done_without(tmp_path: Path, hashed: list[list[Path]]) -> None:
    folder = write_weights(tmp_path / "model", b"abc")
    (tmp_path / "file").write_text("")
    assert find_revision(folder, cache=tmp_path / "file" / "cache.json") == revision_of(b"abc")


def test_only_the_last_folders_are_remembered(
    tmp_path: Path, hashed: list[list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revisions, "MAX_CACHED_FOLDERS", 2)
    cache = tmp_path / "cache.json"
    for name in ("first", "second", "third"):
        find_revision(write_weights(tmp_path / name, name.encode()), cache=cache)
    assert [Path(key).name for key in json.loads(cache.read_text())] == ["second", "third"]
