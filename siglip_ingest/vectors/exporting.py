"""Exports vectors: page by page, in constant memory, into files that appear under their names once they are whole."""

from __future__ import annotations

import json
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from siglip_ingest.db import Database
from siglip_ingest.db.vectors import ExportedRow, read_vectors
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.vectors.files import EMBEDDING, import_parquet, is_parquet
from siglip_ingest.vectors.records import FIELDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PARTIAL = ".partial"
_HEADER_BYTES = 128  # of a .npy file: room for any shape, a multiple of 64 as numpy wants it


def export_vectors(
    database: Database,
    model_id: int,
    dimension: int,
    path: Path,
    *,
    items: Path | None = None,
    collection: str | None = None,
    as_float32: bool = False,
    progress: bool = False,
) -> int:
    """Write the images that have a vector under a model, in the order of `image_id`, as they are at one moment.

    Args:
        database: Where they are.
        model_id: The model.
        dimension: Of its vectors.
        path: `.npy` for an N x D array, or Parquet, which holds the records too.
        items: A file for the records, one JSON line a vector; not for Parquet.
        collection: Only images of this one.
        as_float32: Write float32; else float16, as they are stored.
        progress: Whether to draw a progress bar on stderr.

    Returns:
        How many vectors were written.

    Raises:
        InvalidInputError: If a file can't be written, or `items` is missing or one too many.
        ConfigurationError: If it is Parquet and pyarrow isn't installed.
    """
    if is_parquet(path) and items is not None:
        raise InvalidInputError(f"{path} is Parquet, which holds the records too: leave {items} out.")
    if not is_parquet(path) and items is None:
        raise InvalidInputError(
            f"Name a file for what the vectors of {path} belong to (`--items`, `items=`); it gets a JSON line a vector."
        )
    from tqdm import tqdm

    dtype = "float32" if as_float32 else "float16"
    count = 0
    with (
        _writer(path, items, dimension, dtype) as writer,
        database.connection() as connection,
        tqdm(unit=" vectors", desc="exported", disable=not progress, leave=False) as bar,
    ):
        for rows, embeddings in read_vectors(connection, model_id, collection=collection):
            writer.write(rows, embeddings.astype(dtype))
            count += len(rows)
            bar.update(len(rows))
    return count


class _VectorWriter(ABC):
    """Writes pages of vectors into one file or two."""

    @abstractmethod
    def write(self, rows: Sequence[ExportedRow], embeddings: NDArray[np.floating]) -> None:
        """Write N rows and their (N, D) vectors."""

    @abstractmethod
    def end(self) -> None:
        """Write what only the end tells."""


class _NpyWriter(_VectorWriter):
    """A `.npy` file, whose header is written last: only then is the number of vectors known; and JSON lines."""

    def __init__(self, vectors: IO[bytes], items: IO[bytes], dimension: int, dtype: str) -> None:
        self._vectors, self._items, self._dimension, self._dtype = vectors, items, dimension, dtype
        self._count = 0
        self._vectors.write(bytes(_HEADER_BYTES))

    def write(self, rows: Sequence[ExportedRow], embeddings: NDArray[np.floating]) -> None:
        self._vectors.write(embeddings.astype(embeddings.dtype.newbyteorder("<"), copy=False).tobytes())
        lines = (json.dumps(_to_json(row), ensure_ascii=False, separators=(",", ":")) for row in rows)
        self._items.write("".join(f"{line}\n" for line in lines).encode())
        self._count += len(rows)

    def end(self) -> None:
        # https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, version 1.0
        description = {"float16": "<f2", "float32": "<f4"}[self._dtype]
        header = f"{{'descr': '{description}', 'fortran_order': False, 'shape': ({self._count}, {self._dimension}), }}"
        start = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER_BYTES - 10)
        self._vectors.seek(0)
        self._vectors.write(start + header.encode().ljust(_HEADER_BYTES - 11) + b"\n")


class _ParquetWriter(_VectorWriter):
    """A Parquet file: the columns of a record, metadata as JSON text, and a fixed-size list `embedding`."""

    def __init__(self, path: Path, final_path: Path, dimension: int, dtype: str) -> None:
        pq = import_parquet(final_path)
        import pyarrow as pa

        number = pa.float16() if dtype == "float16" else pa.float32()
        kinds = {"width": pa.int32(), "height": pa.int32()}
        self._schema = pa.schema(
            [*((name, kinds.get(name, pa.string())) for name in FIELDS), (EMBEDDING, pa.list_(number, dimension))]
        )
        # Dictionaries don't help where every value differs.
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", use_dictionary=["collection", "format"])

    def write(self, rows: Sequence[ExportedRow], embeddings: NDArray[np.floating]) -> None:
        import pyarrow as pa

        columns: list[Any] = []
        for name in FIELDS:
            values = [getattr(row, name) for row in rows]
            if name == "metadata":
                values = [json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values]
            columns.append(pa.array(values, self._schema.field(name).type))
        kind = self._schema.field(EMBEDDING).type
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), type=kind))
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))

    def end(self) -> None:
        self._writer.close()


@contextmanager
def _writer(path: Path, items: Path | None, dimension: int, dtype: str) -> Iterator[_VectorWriter]:
    """Write to partial files; they get their names at the end of the block, and are removed where it raises."""
    finals = [final for final in (path, items) if final is not None]
    if items is not None and items.resolve() == path.resolve():
        raise InvalidInputError(f"{path} can't be both the vectors and what they belong to: name two files.")
    for final in finals:
        if final.is_dir():
            raise InvalidInputError(f"{final} is a folder: name a file in it.")
    partials = [final.with_name(f"{final.name}.{os.getpid()}{_PARTIAL}") for final in finals]
    try:
        with ExitStack() as stack:
            if items is None:
                writer: _VectorWriter = _ParquetWriter(partials[0], path, dimension, dtype)
            else:
                opened = [stack.enter_context(partial.open("wb")) for partial in partials]
                writer = _NpyWriter(opened[0], opened[1], dimension, dtype)
            yield writer
            writer.end()
        for partial, final in zip(partials, finals, strict=True):
            partial.replace(final)
    except OSError as error:
        named = str(error.filename or path).removesuffix(f".{os.getpid()}{_PARTIAL}")
        raise InvalidInputError(f"{named} can't be written: {error.strerror or error}.") from error
    finally:
        for partial in partials:
            partial.unlink(missing_ok=True)


def _to_json(row: ExportedRow) -> dict[str, Any]:
    """A record as a JSON line; what isn't known is left out."""
    values = {name: getattr(row, name) for name in FIELDS}
    return {name: value for name, value in values.items() if value is not None and value != {}}
