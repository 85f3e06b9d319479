"""What may stand in a line of items, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.db.vectors import Record
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.vectors.records import read_records

HASH = "0f" * 32


def read(folder: Path, content: bytes | str) -> list[Record]:
    file = folder / "items.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_records(file, "default"))


def test_a_line_with_everything(tmp_path: Path) -> None:
    line = {"uri": "a", "collection": "c", "key": 7, "metadata": {"ä": [1, None]}, "content_hash": HASH.upper()}
    line |= {"width": 1, "height": 2, "format": "PNG"}
    (record,) = read(tmp_path, json.dumps(line))
    assert record._replace(metadata=None) == Record("c", "a", "7", None, bytes.fromhex(HASH), 1, 2, "PNG")
    assert json.loads(record.metadata or "") == {"ä": [1, None]}


def test_what_is_null_counts_as_not_given(tmp_path: Path) -> None:
    names = ("collection", "key", "metadata", "content_hash", "width", "height", "format")
    assert read(tmp_path, json.dumps({"uri": "a", **dict.fromkeys(names)})) == [Record("default", "a")]


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n  \n"], ids=["none", "one", "CRLF", "blank lines"])
def test_a_file_may_end_as_editors_end_files(tmp_path: Path, end: str) -> None:
    assert len(read(tmp_path, '\ufeff{"uri": "a"}\n{"uri": "b"}' + end)) == 2


BAD_LINES: dict[str, tuple[Any, str]] = {
    "an array": ([1], "JSON array, not an object"),
    "null": (None, "JSON null"),
    "no uri": ({"key": "a"}, "no uri"),
    "a uri that is a number": ({"uri": 5}, "uri that is not text but a JSON number: 5"),
    "an empty uri": ({"uri": " "}, "empty uri"),
    "a uri with U+0000": ({"uri": "a\0"}, "isn't text"),
    "a uri with half of a pair": ({"uri": "a\ud800"}, "isn't text"),
    "a uri that no index takes": ({"uri": "a" * 3000}, "3,007 bytes"),
    "an empty collection": ({"uri": "a", "collection": ""}, "empty collection"),
    "a key that is a list": ({"uri": "a", "key": []}, "key"),
    "a key that is true": ({"uri": "a", "key": True}, "key"),
    "a field of another name": ({"uri": "a", "metdata": {}}, "unknown field 'metdata'"),
    "metadata that are a list": ({"uri": "a", "metadata": []}, "JSON object but a JSON array"),
    "metadata with U+0000": ({"uri": "a", "metadata": {"b": ["\0"]}}, "U+0000"),
    "metadata with half of a pair": ({"uri": "a", "metadata": {"\udfff": 1}}, "surrogate"),
    "a hash of 63 digits": ({"uri": "a", "content_hash": HASH[:-1]}, "64 hexadecimal digits"),
    "a hash of other letters": ({"uri": "a", "content_hash": "xy" * 32}, "64 hexadecimal digits"),
    "a hash that is a number": ({"uri": "a", "content_hash": 5}, "64 hexadecimal digits"),
    "a width of 0": ({"uri": "a", "width": 0}, "width that is not a number of pixels: 0"),
    "a height that is true": ({"uri": "a", "height": True}, "number of pixels"),
    "a height in words": ({"uri": "a", "height": "480"}, "number of pixels"),
    "a width of 2^31": ({"uri": "a", "width": 2**31}, "number of pixels"),
    "a format that is a number": ({"uri": "a", "format": 1}, "format"),
}


@pytest.mark.parametrize(("line", "words"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: Any, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, '{"uri": "good"}\n' + json.dumps(line))
    assert f"{tmp_path / 'items.jsonl'}, line 2 " in str(caught.value)
    assert words in str(caught.value)


BAD_TEXTS = {
    "no JSON": (b'{"uri": }', "is not JSON: Expecting value, at column 9"),
    "half a line": (b'{"uri": "a"', "is not JSON"),
    "Latin-1": (b'{"uri": "\xe4"}', "is not UTF-8"),
    "NaN in metadata": (b'{"uri": "a", "metadata": {"b": NaN}}', "metadata['b'] is nan"),
    "more than a double holds": (b'{"uri": "a", "metadata": {"b": 1e999}}', "metadata['b'] is inf"),
    "nested too deeply": (b'{"uri": "a", "metadata": {"b": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", "too deeply"),
    "a blank line in the middle": (b'\n{"uri": "a"}', "is empty"),
}


@pytest.mark.parametrize(("line", "words"), BAD_TEXTS.values(), ids=BAD_TEXTS.keys())
def test_a_line_that_is_no_json_is_named_by_its_number(tmp_path: Path, line: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(tmp_path, b'{"uri": "good"}\n' + line)
    assert ", line 2 " in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="No such file"):
        list(read_records(tmp_path / "none.jsonl", "default"))
