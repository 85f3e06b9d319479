"""What is listed of a folder follows from what can be decoded here."""

from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.siglip.preprocess import formats
from siglip_ingest.siglip.preprocess.folders import find_images


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without pillow-heif."""
    lack(monkeypatch, "HEIF")


def lack(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real = formats.is_decodable
    monkeypatch.setattr(formats, "is_decodable", lambda image_format: image_format.name != name and real(image_format))
    monkeypatch.setattr(formats, "decodable_suffixes", formats.decodable_suffixes.__wrapped__)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()


def test_find_images_looks_into_subfolders_and_past_what_is_hidden_or_not_an_image(tmp_path: Path) -> None:
    touch(tmp_path, "b.JPG", "a.png", "sub/c.webp", ".hidden.jpg", ".cache/d.jpg", "notes.txt", "jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "circle").symlink_to(tmp_path)
    (tmp_path / "folder.jpg").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in find_images(tmp_path).paths] == ["a.png", "b.JPG", "sub/c.webp"]


def test_every_kind_is_listed_with_the_packages_that_a_worker_installs(tmp_path: Path) -> None:
    touch(tmp_path, *(f"a{suffix}" for suffix in formats.IMAGE_SUFFIXES))
    assert len(find_images(tmp_path).paths) == len(formats.IMAGE_SUFFIXES)


def test_what_pillow_cannot_decode_here_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "AVIF")
    touch(tmp_path, "a.jpg", "b.avif", "c.AVIF", "notes.txt")
    found = find_images(tmp_path)
    assert [path.name for path in found.paths] == ["a.jpg"]
    assert found.describe_undecodable() == "2 .avif files were skipped, for which a Pillow that decodes AVIF is needed"
    assert dict(found.skipped.others) == {".txt": 1}


@pytest.mark.usefixtures("no_heif")
def test_skipped_heic_files_say_what_they_need(tmp_path: Path) -> None:
    touch(tmp_path, "a.heic", "b.HEIC", "c.heif", "d.txt")
    assert find_images(tmp_path).describe_skipped() == (
        "2 .heic files and 1 .heif file were skipped, for which pillow-heif is needed: pip install "
        "'.[worker]' in a clone of siglip_ingest; 1 .txt file was skipped, not a kind of image that is read"
    )


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    assert find_images(tmp_path).describe_skipped() == "no file was found in it"
