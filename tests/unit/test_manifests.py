"""Lists of images: what each kind of file says, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest import ImageSource
from siglip_ingest.manifests import expand_pattern, read_list, read_manifest


def read(path: Path, content: str, **options: Any) -> list[ImageSource]:
    path.write_text(content, encoding="utf-8")
    return list(read_manifest(path, **options))


def test_columns_of_csv_are_keys_and_metadata(tmp_path: Path) -> None:
    content = '\ufeffpath,key,album,"two words"\na.jpg,7,2026,"x, ""y"""\nhttps://example.com/b.jpg,,,ä\n/c d.jpg,k,,\n'
    assert read(tmp_path / "m.csv", content) == [
        ImageSource(tmp_path / "a.jpg", "7", {"album": "2026", "two words": 'x, "y"'}),
        ImageSource("https://example.com/b.jpg", None, {"two words": "ä"}),
        ImageSource(Path("/c d.jpg"), "k", {}),
    ]


def test_tabs_separate_too_and_columns_may_be_named(tmp_path: Path) -> None:
    content = "sku\tphoto\tpath\n17\ta.jpg\tshelf 3\n"
    found = read(tmp_path / "m.tsv", content, uri_column="photo", key_column="sku")
    assert found == [ImageSource(tmp_path / "a.jpg", "17", {"path": "shelf 3"})]


def test_json_lines_keep_their_types(tmp_path: Path) -> None:
    lines = [
        {"uri": "file:///a.jpg", "key": 7, "price": 1.5, "tags": ["x"], "none": None},
        {"url": "http://example.com/b.jpg", "metadata": {"album": "2026"}, "price": 2},
        {"image": "sub/c.jpg", "metadata": "words"},
    ]
    content = "\n".join(map(json.dumps, lines)) + "\n\n"
    assert read(tmp_path / "m.jsonl", content) == [
        ImageSource("file:///a.jpg", "7", {"price": 1.5, "tags": ["x"]}),
        ImageSource("http://example.com/b.jpg", None, {"price": 2, "album": "2026"}),
        ImageSource(tmp_path / "sub" / "c.jpg", None, {"metadata": "words"}),
    ]


def test_parquet_is_read_in_batches(tmp_path: Path) -> None:
    count = 12_000
    table = pa.table(
        {"path": [f"{n}.jpg" for n in range(count)], "key": list(range(count)), "half": [None, 1] * (count // 2)}
    )
    pq.write_table(table, tmp_path / "m.parquet")
    found = list(read_manifest(tmp_path / "m.parquet"))
    assert len(found) == count
    assert found[:2] == [ImageSource(tmp_path / "0.jpg", "0", {}), ImageSource(tmp_path / "1.jpg", "1", {"half": 1})]


BAD: dict[str, tuple[str, str, str]] = {
    "another suffix": ("m.txt", "a.jpg\n", "none of the suffixes"),
    "no column of addresses": (
        "m.csv",
        "name,key\na,b\n",
        "line 2 has no column uri, url, path, file or image .* only name, key",
    ),
    "fewer cells": ("m.csv", "path,key\na\n", "line 2 has fewer cells"),
    "more cells": ("m.csv", "path,key\na,b,c\n", "line 2 has more cells"),
    "a quote that doesn't end": ("m.csv", 'path,key\n"a,b\n', "is not CSV"),
    "an empty address": ("m.csv", "path,key\n ,b\n", "line 2: has a path that is no path"),
    "no JSON": ("m.jsonl", '{"uri": "a"}\n{"uri": \n', "line 2 is not JSON: Expecting value, at column"),
    "a JSON array": ("m.jsonl", '["a"]\n', "line 1 is not an object"),
    "an address that is a number": ("m.jsonl", '{"uri": 5}\n', "line 1: has a uri that is no path and no URL: 5"),
    "a key that is a number with a fraction": (
        "m.jsonl",
        '{"uri": "a", "key": 1.5}\n',
        "line 1: A key is text, not float",
    ),
    "metadata that aren't JSON": (
        "m.jsonl",
        '{"uri": "a", "b": NaN}\n',
        "line 1: metadata.* nan, which JSON doesn't have",
    ),
    "metadata with U+0000": ("m.jsonl", '{"uri": "a", "b": "\\u0000"}\n', r"line 1: metadata\['b'\] holds"),
    "no Parquet": ("m.parquet", "words", "can't be read as Parquet"),
}


@pytest.mark.parametrize(("name", "content", "words"), BAD.values(), ids=BAD.keys())
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words) as caught:
        read(tmp_path / name, content)
    assert str(tmp_path / name) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="can't be read: No such file"):
        list(read_manifest(tmp_path / "none.csv"))
    (tmp_path / "m.csv").write_bytes(b"path\n\xe4.jpg\n")
    with pytest.raises(InvalidInputError, match="is not UTF-8"):
        list(read_manifest(tmp_path / "m.csv"))


def test_a_list_has_a_path_or_a_url_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    lines = ["a b.jpg\n", "\n", "  \r\n", "https://example.com/1.jpg\r\n", "~/c.jpg\n", " d.jpg"]
    assert list(read_list(lines)) == [
        Path("a b.jpg"),
        "https://example.com/1.jpg",
        Path("/home/somebody/c.jpg"),
        Path(" d.jpg"),
    ]


def test_a_pattern_names_files_and_a_file_with_such_a_name_is_itself(tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg", "sub/d.png", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = expand_pattern(f"{tmp_path}/**/*.jpg")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.jpg", "odd[1].jpg", "sub/b.jpg", "sub/deep/c.jpg"]
    assert expand_pattern(f"{tmp_path}/odd[1].jpg") == [tmp_path / "odd[1].jpg"]
    assert expand_pattern(f"{tmp_path}/nothing.jpg") == [tmp_path / "nothing.jpg"]
    with pytest.raises(InvalidInputError, match="names no file or folder"):
        expand_pattern(f"{tmp_path}/*.gif")
