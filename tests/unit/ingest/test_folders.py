"""The images of a folder, as a stream."""

from __future__ import annotations

import logging
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest.expand import expand, file_version, path_of_uri
from siglip_ingest.ingest.found import ExpandOptions
from tests.images import encode, make_image


def names_of(folder: Path, **options: Any) -> list[str]:
    rows = expand(folder, "c", {}, ExpandOptions(**options))
    return [str(path.relative_to(folder)) for row in rows if (path := path_of_uri(row.uri)) is not None]


def test_the_order_is_that_of_sorted_paths(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.jpg", "sub/c.jpg", "sub.jpg", "sub-1.jpg", "sub/a/z.jpg", "B.jpg", "sub 2/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert names_of(tmp_path) == [str(path) for path in sorted(map(Path, names_of(tmp_path)))]
    assert len(names_of(tmp_path)) == 8


@pytest.mark.parametrize(
    "name", [b"plain-1_2.~x.jpg", b"a b.jpg", b"#?%.jpg", "ä日本.jpg".encode(), b"\xff.jpg", b"a\nb.jpg", b"(1)+&=.jpg"]
)
def test_uris_and_versions_are_those_of_the_files_themselves(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "a folder #1"
    folder.mkdir()
    path = folder / os.fsdecode(name)
    path.write_bytes(b"x")
    (row,) = expand(folder, "c", {})
    (alone,) = expand(path, "c", {})
    assert row == alone
    assert (row.uri, row.source_version) == (path.as_uri(), file_version(path.stat()))


def test_a_link_to_a_file_is_taken_and_its_version_is_the_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a.jpg").write_bytes(b"image")
    (tmp_path / "folder" / "link.jpg").symlink_to(tmp_path / "a.jpg")
    (row,) = expand(tmp_path / "folder", "c", {})
    assert (row.uri[-8:], row.source_version) == ("link.jpg", file_version((tmp_path / "a.jpg").stat()))


def test_a_subfolder_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert names_of(tmp_path) == ["b/2.jpg"]
    assert "1 folder could not be read" in caplog.text
    with pytest.raises(InvalidInputError, match="a can't be read: Permission denied"):
        names_of(tmp_path / "a")


def test_a_folder_of_tars_only_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.tar").touch()
    with pytest.raises(InvalidInputError, match=r"1 \.tar file was skipped"):
        names_of(tmp_path)


def test_a_file_that_goes_meanwhile_is_left_out(tmp_path: Path) -> None:
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (tmp_path / name).touch()
    rows = expand(tmp_path, "c", {})
    next(rows)
    (tmp_path / "2.jpg").unlink()
    assert [row.uri[-5:] for row in rows] == ["3.jpg"]


def test_all_files_finds_images_by_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    image = make_image(4, 4)
    for name, image_format in (("1", "PNG"), ("2.bin", "JPEG"), ("3.dat", "WEBP"), ("4.x", "AVIF"), ("5", "TIFF")):
        (tmp_path / name).write_bytes(encode(image, image_format))
    (tmp_path / "text").write_text("P1 is a text and no image")
    (tmp_path / "data.bin").write_bytes(b"\x00" * 100)
    (tmp_path / "empty").touch()
    (tmp_path / "named.jpg").touch()
    (tmp_path / ".hidden").write_bytes(encode(image, "PNG"))
    assert names_of(tmp_path) == ["named.jpg"]
    assert not caplog.records
    assert names_of(tmp_path, all_files=True) == ["1", "2.bin", "3.dat", "4.x", "5", "named.jpg"]
    assert "2 suffixless files and 1 .bin file were skipped, not a kind of image that is read" in caplog.text


def test_memory_is_that_of_one_folder(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / str(folder)).mkdir()
        for number in range(200):
            (tmp_path / str(folder) / f"{number}.jpg").touch()
    rows = expand(tmp_path, "c", {})
    next(rows)
    tracemalloc.start()
    assert sum(1 for _ in rows) == 3999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150_000
