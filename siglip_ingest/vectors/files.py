"""Opens files of vectors: `.npy`, mapped into memory, or Parquet, read in batches; with the records of their rows."""

from __future__ import annotations

import contextlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from siglip_ingest.db.vectors import Record
from siglip_ingest.errors import ConfigurationError, InvalidInputError
from siglip_ingest.process import how_to_install
from siglip_ingest.vectors.records import FIELDS, make_record, read_records

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

PARQUET_SUFFIXES = (".parquet", ".pq")
EMBEDDING = "embedding"  # the column of a Parquet file that holds the vectors
_NPY_BEGIN = b"\x93NUMPY"
_ZIP_BEGIN = b"PK"  # .npz
MAX_DIMENSION = 4000  # pgvector's, for an index on halfvec


class Batch(NamedTuple):
    """Some rows that follow each other.

    Attributes:
        first_row: Number of the first one, from 0.
        vectors: (N, D) float16 or float32, unchecked.
        records: N of them, checked.
    """

    first_row: int
    vectors: NDArray[np.floating]
    records: list[Record]


class VectorFile(ABC):
    """A file of N x D vectors, which may hold their records too.

    Attributes:
        path: The file.
        count: N.
        dimension: D.
    """

    path: Path
    count: int
    dimension: int

    @property
    @abstractmethod
    def has_records(self) -> bool:
        """Whether the file says which images the vectors are of."""

    @abstractmethod
    def read(
        self, size: int, collection: str = "", *, has_records: bool = True
    ) -> Iterator[tuple[NDArray[np.floating], list[Record]]]:
        """Read (N, D) vectors, `size` at a time; and their records, where the file has them and they are wanted."""


class NpyFile(VectorFile):
    """An array that numpy has saved."""

    def __init__(self, path: Path) -> None:
        import numpy as np

        self.path = path
        try:
            with path.open("rb") as file:
                begin = file.read(len(_NPY_BEGIN))
            is_array = begin in {_NPY_BEGIN, b""} or begin.startswith(_ZIP_BEGIN)
            array = np.load(path, mmap_mode="r", allow_pickle=False) if is_array else None
        except (EOFError, ValueError) as error:
            fault = "holds Python objects, not numbers" if "Python objects" in str(error) else "ends too early"
            raise InvalidInputError(f"{path} {fault}. Write it anew with numpy.save.") from error
        except OSError as error:
            raise InvalidInputError(f"{path} can't be read: {error.strerror or error}.") from error
        if array is None:
            raise InvalidInputError(
                f"{path} is not a .npy file. Write one with numpy.save, or Parquet with the suffix "
                f"{PARQUET_SUFFIXES[0]}."
            )
        if not isinstance(array, np.ndarray):
            raise InvalidInputError(f"{path} holds several arrays. One is expected, as numpy.save writes it.")
        if array.ndim != 2:
            raise InvalidInputError(f"{path} holds an array of shape {array.shape}. N x D is expected, a vector a row.")
        if array.dtype.kind != "f" or array.dtype.itemsize > 4:
            raise InvalidInputError(
                f"{path} holds {array.dtype} numbers. float16 or float32 is expected: numpy.save the array's "
                "astype(numpy.float32)."
            )
        self._array = array
        self.count, self.dimension = array.shape

    @property
    def has_records(self) -> bool:
        """No: they stand in a file of their own."""
        return False

    def read(
        self,
        size: int,
        collection: str = "",  # noqa: ARG002
        *,
        has_records: bool = True,  # noqa: ARG002
    ) -> Iterator[tuple[NDArray[np.floating], list[Record]]]:
        """Read the vectors; without records."""
        for first in range(0, self.count, size):
            yield self._array[first : first + size], []


class ParquetFile(VectorFile):
    """A Parquet file with a list column `embedding`; a column `uri` and others of `FIELDS` are the records."""

    def __init__(self, path: Path) -> None:
        pq = import_parquet(path)
        import pyarrow as pa

        self.path = path
        try:
            self._file = pq.ParquetFile(path)
            schema = self._file.schema_arrow
        except pa.ArrowException as error:
            raise InvalidInputError(f"{path} is not a Parquet file: {error}.") from error
        except OSError as error:
            raise InvalidInputError(f"{path} can't be read: {error.strerror or error}.") from error
        if EMBEDDING not in schema.names:
            raise InvalidInputError(
                f"{path} has no column {EMBEDDING!r}, only {', '.join(schema.names) or 'none'}. Rename the one with "
                "the vectors."
            )
        self._kind = schema.field(EMBEDDING).type
        self._columns = [name for name in FIELDS if name in schema.names]
        self.count = self._file.metadata.num_rows
        self.dimension = self._find_dimension()

    @property
    def has_records(self) -> bool:
        """Whether it has a column `uri`."""
        return "uri" in self._columns

    def read(
        self, size: int, collection: str = "", *, has_records: bool = True
    ) -> Iterator[tuple[NDArray[np.floating], list[Record]]]:
        """Read the vectors, and the records where there are any."""
        columns = self._columns if self.has_records and has_records else []
        first = 0
        for batch in self._iterate(size, [EMBEDDING, *columns]):
            vectors = self._to_array(batch.column(EMBEDDING), first)
            rows = batch.select(columns).to_pylist() if columns else []
            places = (f"{self.path}, row {first + number} (from 0)" for number in range(len(rows)))
            yield (
                vectors,
                [make_record(_plain(row), place, collection) for row, place in zip(rows, places, strict=True)],
            )
            first += len(vectors)

    def _iterate(self, size: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Read batches; older versions of pyarrow fail on a list that is NULL, all on a damaged page."""
        import pyarrow as pa

        first = 0
        try:
            for batch in self._file.iter_batches(batch_size=size, columns=columns):
                yield batch
                first += len(batch)
        except (pa.ArrowException, OSError) as error:
            raise InvalidInputError(
                f"{self.path}: row {first} (from 0), or one soon after it, has no vector of {self.dimension} numbers, "
                f"or can't be read: {error}."
            ) from error

    def _find_dimension(self) -> int:
        import pyarrow as pa

        kind = self._kind
        is_list = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if not is_list or kind.value_type not in {pa.float16(), pa.float32()}:
            raise InvalidInputError(
                f"The column {EMBEDDING!r} of {self.path} has the type {kind}. A fixed-size list of float16 "
                "(halffloat) or float32 (float) is expected."
            )
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size)
        first = next(self._file.iter_batches(batch_size=1, columns=[EMBEDDING]), None)  # lists, all as long as this one
        return 0 if first is None or not first.column(0)[0].is_valid else len(first.column(0)[0])

    def _to_array(self, column: pa.Array, first_row: int) -> NDArray[np.floating]:
        import numpy as np
        import pyarrow.compute as pc

        wrong = np.flatnonzero(
            pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False) != self.dimension
        )
        if column.null_count:
            wrong = np.flatnonzero(~column.is_valid().to_numpy(zero_copy_only=False))
        flat = column.flatten()
        if wrong.size or flat.null_count:
            raise InvalidInputError(
                f"{self.path}: row {first_row + (wrong[0] if wrong.size else 0)} (from 0), or one soon after it, has "
                f"no vector of {self.dimension} numbers."
            )
        array: NDArray[np.floating] = flat.to_numpy(zero_copy_only=False).reshape(len(column), self.dimension)
        return array


def open_vectors(path: Path) -> VectorFile:
    """Open a file of vectors, by its suffix.

    Raises:
        InvalidInputError: If it can't be read, or holds something else.
        ConfigurationError: If it is Parquet and pyarrow isn't installed.
    """
    opened = ParquetFile(path) if is_parquet(path) else NpyFile(path)
    if not 1 <= opened.dimension <= MAX_DIMENSION:
        raise InvalidInputError(
            f"{path} holds vectors of {opened.dimension:,} elements; 1 to {MAX_DIMENSION:,} can be searched."
        )
    return opened


def is_parquet(path: Path) -> bool:
    """Whether a file's name says that it is Parquet."""
    return path.suffix.lower() in PARQUET_SUFFIXES


def import_parquet(path: Path) -> Any:
    """The module `pyarrow.parquet`, which is optional.

    Raises:
        ConfigurationError: If it isn't installed.
    """
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"{path} is Parquet, which needs pyarrow, and that isn't installed: {how_to_install('parquet')}."
        ) from error
    return pq


def read_batches(vectors: VectorFile, items: Path | None, collection: str, size: int) -> Iterator[Batch]:
    """Read vectors with their records, `size` rows at a time.

    Args:
        vectors: The vectors.
        items: A file of JSON lines with a record a row; None where `vectors` has them itself.
        collection: Of the records that name none.
        size: Most rows of a batch.

    Raises:
        InvalidInputError: If a record can't be read, or there are more records than vectors, or fewer.
    """
    records = None if items is None else read_records(items, collection)
    first = 0
    for array, own in vectors.read(size, collection):
        batch = own if records is None else list(itertools.islice(records, len(array)))
        if len(batch) < len(array):
            raise _uneven(vectors, items, f"{first + len(batch):,}")
        yield Batch(first, array, batch)
        first += len(array)
    if records is not None and next(records, None) is not None:
        more = 1 + sum(1 for _ in records)
        raise _uneven(vectors, items, f"{first + more:,}")


def _uneven(vectors: VectorFile, items: Path | None, lines: str) -> InvalidInputError:
    return InvalidInputError(
        f"{vectors.path} has {vectors.count:,} vectors and {items} has {lines} lines. There must be one line a vector, "
        "in the same order."
    )


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A Parquet row as a JSON line would have it: metadata may be written as JSON text."""
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        with contextlib.suppress(ValueError):  # the check of metadata says what it is
            row["metadata"] = json.loads(metadata)
    return row
