"""Lists of images in files: CSV, JSON lines, Parquet, or a path a line. Read as a stream."""

from __future__ import annotations

import csv
import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from siglip_ingest.db.checks import check_key, check_mapping
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest import ImageSource
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.sources.stores import is_store_address
from siglip_ingest.vectors.files import import_parquet, is_parquet

URI_COLUMNS = ("uri", "url", "path", "file", "image")
KEY_COLUMN = "key"
CSV_SUFFIXES = {".csv": ",", ".tsv": "\t"}
JSON_SUFFIXES = (".jsonl", ".ndjson")
_HAS_PATTERN = re.compile(r"[*?\[]")
_BATCH = 5000  # rows of a Parquet file that are read at a time


def read_manifest(path: Path, *, uri_column: str | None = None, key_column: str | None = None) -> Iterator[ImageSource]:
    """Read which images there are, with a key and metadata of their own.

    Args:
        path: `.csv` or `.tsv` with a line of headings, `.jsonl` with an object a line, or `.parquet`. Columns other
            than those of the address and the key become metadata: texts in CSV, where empty cells are left out; a field
            `metadata` that is an object is merged into them. A path that isn't absolute begins at the file's folder.
        uri_column: Which column has the paths or URLs; by default the first of `URI_COLUMNS` that there is.
        key_column: Which column has the keys; by default `key`, where there is one.

    Raises:
        InvalidInputError: If the file can't be read, has no such column, or a row is wrong; names the line or the row.
        ConfigurationError: If it is Parquet and pyarrow isn't installed.
    """
    try:
        for place, row in _read_rows(path):
            yield _make_source(row, place, path, uri_column, key_column)
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8: {error.reason}.") from error


def read_list(lines: Iterable[str]) -> Iterator[str | Path]:
    """Read a path or URL a line; blank lines are left out.

    Args:
        lines: For instance standard input.
    """
    for line in lines:
        if (text := line.strip("\r\n")).strip():
            yield text if _is_address(text) else expand_user(text)


def expand_pattern(text: str) -> list[Path]:
    """The files and folders that a pattern such as `photos/**/*.jpg` names, sorted; a path that is there is itself.

    Raises:
        InvalidInputError: If it is a pattern that names nothing.
    """
    path = expand_user(text)
    if not _HAS_PATTERN.search(text) or path.exists():
        return [path]
    found = sorted(Path(name) for name in glob.iglob(str(path), recursive=True))  # noqa: PTH207  # absolute patterns
    if not found:
        raise InvalidInputError(f"The pattern {text!r} names no file or folder.")
    return found


def _is_address(text: str) -> bool:
    return is_web_address(text) or text.startswith("file://") or is_store_address(text)


def _read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each row with the place where it stands, for messages."""
    suffix = path.suffix.lower()
    if suffix in CSV_SUFFIXES:
        yield from _read_csv(path, CSV_SUFFIXES[suffix])
    elif suffix in JSON_SUFFIXES:
        yield from _read_json_lines(path)
    elif is_parquet(path):
        yield from _read_parquet(path)
    else:
        known = ", ".join([*CSV_SUFFIXES, *JSON_SUFFIXES, ".parquet"])
        raise InvalidInputError(f"{path} has none of the suffixes of a manifest: {known}.")


def _read_csv(path: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    more = "more" if None in row else "fewer"
                    raise InvalidInputError(f"{place} has {more} cells than there are headings.")
                yield place, {name: value for name, value in row.items() if value != ""}
        except csv.Error as error:
            raise InvalidInputError(f"{path}, line {reader.line_num} is not CSV: {error}.") from error


def _read_json_lines(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InvalidInputError(f"{place} is not JSON: {error.msg}, at column {error.colno}.") from error
            except RecursionError as error:
                raise InvalidInputError(f"{place} is nested too deeply.") from error
            if not isinstance(row, dict):
                raise InvalidInputError(f'{place} is not an object such as {{"path": "one.jpg"}}.')
            yield place, {name: value for name, value in row.items() if value is not None}


def _read_parquet(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    pq = import_parquet(path)
    import pyarrow as pa

    number = 0
    try:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                yield (
                    f"{path}, row {number} (from 0)",
                    {name: value for name, value in row.items() if value is not None},
                )
                number += 1
    except pa.ArrowException as error:
        raise InvalidInputError(f"{path} can't be read as Parquet: {error}.") from error


def _make_source(
    row: Mapping[str, Any], place: str, path: Path, uri_column: str | None, key_column: str | None
) -> ImageSource:
    columns = (uri_column,) if uri_column is not None else URI_COLUMNS
    column = next((name for name in columns if name in row), None)
    if column is None:
        wanted = (
            f"column {uri_column!r}" if uri_column is not None else f"column {', '.join(URI_COLUMNS[:-1])} or image"
        )
        raise InvalidInputError(f"{place} has no {wanted} with a path or a URL, only {', '.join(row) or 'nothing'}.")
    metadata = {
        name: value for name, value in row.items() if name not in {column, key_column or KEY_COLUMN, "metadata"}
    }
    own = row.get("metadata", {})
    try:
        if not isinstance(row[column], str) or not row[column].strip():
            raise InvalidInputError(f"has a {column} that is no path and no URL: {row[column]!r}.")  # noqa: TRY301
        if isinstance(own, Mapping):
            metadata |= own
        else:
            metadata["metadata"] = own
        check_mapping(metadata, "metadata")
        source = row[column].strip()
        return ImageSource(
            source if _is_address(source) else path.parent / expand_user(source),
            key=check_key(row.get(key_column or KEY_COLUMN)),
            metadata=metadata,
        )
    except InvalidInputError as error:
        raise InvalidInputError(f"{place}: {error}") from error
