"""The folder of small files: made once, bounded, shared by threads."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from siglip_ingest.errors import ImageError
from siglip_ingest.file_cache import FileCache
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, open_image
from siglip_ingest.thumbnails import make_thumbnail, thumbnail_name
from tests.images import encode, make_image, rotated


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_file_is_made_once(tmp_path: Path) -> None:
    cache, made = FileCache(tmp_path, 1000), []
    for _ in range(3):
        assert cache.get("abcd", lambda: made.append(1) or b"content") == b"content"  # type: ignore[func-returns-value]
    assert made == [1]
    assert FileCache(tmp_path, 1000).find("abcd") == b"content"
    assert cache.find("abce") is None


def test_threads_that_ask_at_once_make_one_file(tmp_path: Path) -> None:
    cache, made, barrier = FileCache(tmp_path, 1000), [], threading.Barrier(8)

    def make() -> bytes:
        made.append(1)
        return b"x"

    def ask() -> None:
        barrier.wait()
        cache.get("abcd", make)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 450)
    for number in range(4):
        cache.get(f"{number}aaa", lambda: b"x" * 100)
        os.utime(tmp_path / f"{number}a" / f"{number}aaa", (number, number))
    cache.find("0aaa")
    cache.get("4aaa", lambda: b"x" * 100)
    assert [path.name for path in _files(tmp_path)] == ["0aaa", "2aaa", "3aaa", "4aaa"]


def test_a_cache_of_no_size_keeps_nothing(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 0)
    assert cache.get("abcd", lambda: b"content") == b"content"
    assert _files(tmp_path) == []


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FileCache(tmp_path / "file", 1000)
    assert cache.get("abcd", lambda: b"content") == b"content"


def test_a_failure_to_make_is_told_each_time(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 1000)

    def fail() -> bytes:
        raise ImageError("It is damaged.", code="unreadable")

    for _ in range(2):
        with pytest.raises(ImageError):
            cache.get("abcd", fail)
    assert cache.get("abcd", lambda: b"x") == b"x"


def test_a_thumbnail_is_small_upright_and_without_metadata() -> None:
    made = make_thumbnail(rotated(6), 16, DEFAULT_LIMITS)
    image = open_image(made)
    whole = open_image(rotated(6))
    assert max(image.size) == 16
    assert (image.width > image.height) == (whole.width > whole.height)
    assert made[8:12] == b"WEBP"
    assert b"EXIF" not in made
    assert open_image(make_thumbnail(encode(make_image(10, 8), "PNG"), 160, DEFAULT_LIMITS)).size == (10, 8)


def test_thumbnails_of_other_versions_and_sizes_have_other_names() -> None:
    names = {thumbnail_name(source, size) for source in ("a", "b") for size in (160, 320)}
    assert len(names) == 4
