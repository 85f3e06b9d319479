"""Files in and out of the allowed folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess import files
from siglip_ingest.sources import SourcePolicy, fetch


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder that may be read, in one with a secret beside it."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.jpg").write_bytes(b"image")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "inner.jpg").symlink_to(folder / "sub" / "a.jpg")
    (folder / "door").symlink_to(tmp_path)
    return folder


def read(uri: str, *roots: Path) -> bytes:
    policy = SourcePolicy(allowed_roots=roots, allowed_hosts=frozenset())
    return fetch(uri, max_image_bytes=1000, timeout_s=1, policy=policy)


def refuse(uri: str, *roots: Path) -> ImageError:
    with pytest.raises(ImageError) as caught:
        read(uri, *roots)
    assert not caught.value.is_retryable
    return caught.value


@pytest.mark.parametrize("name", ["sub/a.jpg", "inner.jpg", "sub/../sub/a.jpg", "door/photos/sub/a.jpg"])
def test_a_file_below_an_allowed_folder_is_read(photos: Path, name: str) -> None:
    assert read(f"file://{photos}/{name}", Path("/nowhere"), photos) == b"image"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../secret.jpg", id="beside the folder"),
        pytest.param("%2e%2e/secret.jpg", id="beside the folder, escaped"),
        pytest.param("link.jpg", id="through a link"),
        pytest.param("door/secret.jpg", id="through a link to a folder"),
        pytest.param("../missing.jpg", id="missing, beside the folder"),
        pytest.param("/etc/passwd", id="elsewhere"),
    ],
)
def test_a_file_outside_of_the_allowed_folders_is_not_allowed(photos: Path, name: str) -> None:
    error = refuse(f"file://{name}" if name.startswith("/") else f"file://{photos}/{name}", photos)
    assert error.code == "not_allowed"
    assert "SIGLIP_ALLOWED_ROOTS" in str(error)
    assert "secret" not in str(error).replace("secret.jpg", "")


def test_without_allowed_folders_no_file_is_read(photos: Path) -> None:
    error = refuse(f"file://{photos}/sub/a.jpg")
    assert error.code == "not_allowed"
    assert "SIGLIP_ALLOWED_ROOTS" in str(error)


def swap_before_open(monkeypatch: pytest.MonkeyPatch, link: Path, target: Path) -> None:
    """Turn a file into a link to another one between the look at its path and the opening."""
    real_open = os.open

    def swap_and_open(path: Any, *arguments: Any) -> int:
        if path == link:
            link.unlink()
            link.symlink_to(target)
        return real_open(path, *arguments)

    monkeypatch.setattr(files.os, "open", swap_and_open)


@pytest.mark.parametrize("has_proc", [True, False], ids=["with_proc", "without_proc"])
def test_a_link_that_is_swapped_in_before_the_opening_does_not_win(
    photos: Path, monkeypatch: pytest.MonkeyPatch, has_proc: bool
) -> None:
    if not has_proc:
        monkeypatch.setattr(files, "_OPEN_FILES", photos / "no proc")
    swap_before_open(monkeypatch, photos / "sub" / "a.jpg", photos.parent / "secret.jpg")
    assert refuse(f"file://{photos}/sub/a.jpg", photos).code == "not_allowed"


def test_a_file_is_read_where_there_is_no_proc(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_OPEN_FILES", photos / "no proc")
    assert read(f"file://{photos}/inner.jpg", photos) == b"image"
