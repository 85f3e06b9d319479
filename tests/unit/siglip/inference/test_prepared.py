"""Prepared models are kept by all that they depend on, whole, and made once."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import pytest

from siglip_ingest.siglip.inference.int8.prepared import Prepared, read_or_make

KEY = {"revision": "a", "runtime": "ONNX Runtime 1.32.0", "image_settings": {"size": [32, 32]}}


class Maker:
    """Makes something, slowly, and counts."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.count = 0
        self._seconds = seconds

    def __call__(self) -> Prepared:
        self.count += 1
        time.sleep(self._seconds)
        return Prepared(b"model" * 1000, 0.998)


def test_a_model_is_made_once(tmp_path: Path) -> None:
    make = Maker()
    assert read_or_make([tmp_path / "new"], KEY, make) == read_or_make([tmp_path / "new"], dict(KEY), make)
    assert make.count == 1
    assert sorted(path.suffix for path in (tmp_path / "new").iterdir()) == [".json", ".lock", ".onnx"]


@pytest.mark.parametrize("changed", KEY)
def test_another_key_is_another_model(tmp_path: Path, changed: str) -> None:
    make = Maker()
    read_or_make([tmp_path], KEY, make)
    read_or_make([tmp_path], {**KEY, changed: "other"}, make)
    assert make.count == 2


@pytest.mark.parametrize("suffix", ["onnx", "json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"model"], ids=["empty", "braces", "cut off"])
def test_a_broken_file_is_made_again(
    tmp_path: Path, suffix: str, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    make = Maker()
    made = read_or_make([tmp_path], KEY, make)
    next(tmp_path.glob(f"*.{suffix}")).write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert read_or_make([tmp_path], KEY, make) == made
    assert "is broken, and made again" in caplog.text
    assert read_or_make([tmp_path], KEY, make) == made
    assert make.count == 2


def test_two_that_start_at_once_make_it_once(tmp_path: Path) -> None:
    make = Maker(seconds=0.3)
    threads = [threading.Thread(target=read_or_make, args=([tmp_path], KEY, make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert make.count == 1


def test_a_folder_that_can_t_be_written_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    make = Maker()
    places = [tmp_path / "file" / "inside", tmp_path / "second"]
    read_or_make(places, KEY, make)
    read_or_make(places, KEY, make)
    assert make.count == 1
    assert len(list((tmp_path / "second").glob("*.onnx"))) == 1


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("no folder")
    make = Maker()
    assert read_or_make([tmp_path / "file" / "inside"], KEY, make).least_cosine == 0.998
    assert "can't be kept" in caplog.text


def test_a_reader_needs_no_right_to_write(tmp_path: Path) -> None:
    make = Maker()
    read_or_make([tmp_path], KEY, make)
    for path in tmp_path.glob("*.lock"):
        path.unlink()
    read_or_make([tmp_path], KEY, make)
    assert make.count == 1
    assert not list(tmp_path.glob("*.lock"))
