"""Imports vectors: all of the input is checked first; then it is stored, some thousand rows a transaction."""

from __future__ import annotations

import itertools
import marshal
import math
import tempfile
import threading
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Never

from siglip_ingest.db import Connection, Database, models
from siglip_ingest.db.checks import check_name, is_whole_number
from siglip_ingest.db.vectors import Record, Stored, has_images, store_vectors
from siglip_ingest.errors import DatabaseConflictError, InvalidInputError
from siglip_ingest.types import DEFAULT_COLLECTION, VectorImport
from siglip_ingest.vectors.files import Batch, VectorFile, open_vectors, read_batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tqdm import tqdm

BATCH_ROWS = 5000  # of one transaction
MAX_LOGIT_SCALE = 100.0  # a logarithm: checkpoints have 4 to 5
CONNECTIONS = 2  # PostgreSQL stores a row on one core; reading goes on meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How vectors are imported, checked when it is made.

    Attributes:
        dimension: What the vectors' length must be; None for whatever it is.
        logit_scale: Of a new model, a logarithm as in a checkpoint; None for a model without scores.
        logit_bias: Of a new model; given with `logit_scale` or not at all.
        collection: Of the records that name none.
        normalize: Divide each vector by its norm; else it must be 1.
        replace: Replace vectors that are there.

    Raises:
        InvalidInputError: If one of them is of the wrong kind.
    """

    dimension: int | None = None
    logit_scale: float | None = None
    logit_bias: float | None = None
    collection: str = DEFAULT_COLLECTION
    normalize: bool = False
    replace: bool = False

    def __post_init__(self) -> None:
        check_name(self.collection, "A collection")
        if self.dimension is not None and not is_whole_number(self.dimension):
            raise InvalidInputError(f"dimension must be a whole number, not {self.dimension!r}.")
        if (self.logit_scale is None) != (self.logit_bias is None):
            raise InvalidInputError("logit_scale and logit_bias go together: give both, or neither.")
        for name in ("logit_scale", "logit_bias"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
                raise InvalidInputError(f"{name} must be a finite number, not {value!r}.")
            if name == "logit_scale" and abs(float(value)) > MAX_LOGIT_SCALE:
                raise InvalidInputError(f"logit_scale is a logarithm: at most {MAX_LOGIT_SCALE:.0f}, not {value!r}.")
            object.__setattr__(self, name, float(value))


class CheckedInput:
    """Vectors with their records, all of which have been read and found to be right. Closes as a context manager.

    The records are kept in a temporary file, so that their lines are parsed once.

    Attributes:
        vectors: The vectors.
        items: The file of the records; None where `vectors` has them.
        collections: Those that the images join.
    """

    def __init__(self, vectors: VectorFile, items: Path | None) -> None:
        self.vectors = vectors
        self.items = items
        self.collections: set[str] = set()
        self._records = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._sizes: list[int] = []  # bytes of each batch in it

    def __enter__(self) -> CheckedInput:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the temporary file."""
        self._records.close()

    def add(self, records: Sequence[Record]) -> None:
        """Keep the records of a batch."""
        self._sizes.append(self._records.write(marshal.dumps([tuple(record) for record in records])))
        self.collections.update({record.collection for record in records})

    def records(self) -> Iterator[list[Record]]:
        """The records, batch by batch as they were added."""
        self._records.seek(0)
        for size in self._sizes:
            batch = marshal.loads(self._records.read(size))  # noqa: S302  # our own file
            yield [Record(*values) for values in batch]

    def batches(self) -> Iterator[Batch]:
        """Vectors with their records, as they were read before."""
        first = 0
        for records, (vectors, _) in zip(self.records(), self.vectors.read(BATCH_ROWS, has_records=False), strict=True):
            yield Batch(first, vectors, records)
            first += len(records)


def check_input(vectors_path: Path, items: Path | None, options: ImportOptions, *, progress: bool) -> CheckedInput:
    """Read all of the input once, and store nothing.

    Args:
        vectors_path: `.npy` or Parquet, N x D.
        items: JSON lines, one a vector; None where a Parquet file has the columns.
        options: The import's.
        progress: Whether to draw a progress bar on stderr.

    Raises:
        InvalidInputError: If anything in it can't be imported; names the file and the line or the row.
        ConfigurationError: If it is Parquet and pyarrow isn't installed.
    """
    vectors = open_vectors(vectors_path)
    if options.dimension is not None and options.dimension != vectors.dimension:
        raise InvalidInputError(
            f"{vectors_path} holds vectors of {vectors.dimension:,} elements; {options.dimension:,} were asked for."
        )
    if items is None and not vectors.has_records:
        raise InvalidInputError(
            f"{vectors_path} doesn't say which images its vectors are of. Name a file with a JSON line a vector "
            '(`--items`, `items=`), such as {"uri": "https://example.com/1.jpg"}.'
        )
    if items is not None and vectors.has_records:
        raise InvalidInputError(f"{vectors_path} has a column 'uri', and {items} says it too. Give one of the two.")
    from siglip_ingest.vectors.checking import check_vectors

    seen = array("q")
    checked = CheckedInput(vectors, items)
    try:
        with _bar(vectors.count, "checked", progress) as bar:
            for batch in read_batches(vectors, items, options.collection, BATCH_ROWS):
                check_vectors(batch.vectors, batch.first_row, str(vectors_path), normalize=options.normalize)
                seen.extend([hash(record[:2]) for record in batch.records])
                checked.add(batch.records)
                bar.update(len(batch.records))
        if not seen:
            raise InvalidInputError(f"{vectors_path} holds no vectors.")  # noqa: TRY301
        _check_unique(checked, seen)
    except BaseException:
        checked.close()
        raise
    return checked


def _check_unique(checked: CheckedInput, seen: array[int]) -> None:
    """Refuse an image that is there twice. `seen` has 64 bits of each: those that are equal are looked at again."""
    import numpy as np

    ordered = np.sort(np.frombuffer(seen, np.int64))
    doubled = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not doubled:
        return
    rows: dict[tuple[str, str], int] = {}
    for row, record in enumerate(itertools.chain.from_iterable(checked.records())):
        first = rows.setdefault(record[:2], row) if seen[row] in doubled else row
        if first != row:
            path, word, base = (checked.items, "lines", 1) if checked.items else (checked.vectors.path, "rows", 0)
            raise InvalidInputError(
                f"{path}: the {word} {first + base} and {row + base} (from {base}) both have the uri {record.uri!r} in "
                f"the collection {record.collection!r}. An image has one vector: take one of them out."
            )


def register_model(database: Database, name: str, dimension: int, options: ImportOptions) -> models.ModelRow:
    """Find the model that the vectors belong to, or make it, as an external one; it becomes the active one if none is.

    Raises:
        InvalidInputError: If the database's model of that name has another dimension or other constants.
    """

    def register(connection: Connection) -> models.ModelRow:
        models.lock_models(connection)
        row = models.find_model(connection, name)
        if row is None:
            model_id = models.register_external_model(
                connection, name, dimension, options.logit_scale, options.logit_bias
            )
            return models.get_model(connection, model_id)
        if row.info is None:
            raise InvalidInputError(
                f"The model {name!r} has not been loaded by any worker yet, so that nobody knows its vectors' length. "
                "Start one with `siglip-ingest worker` first; or import under another name."
            )
        if row.info.dimension != dimension:
            raise InvalidInputError(
                f"The vectors have {dimension:,} elements, those of the database's model {name!r} have "
                f"{row.info.dimension:,}. Import them under another name."
            )
        for field in ("logit_scale", "logit_bias"):
            given, stored = getattr(options, field), getattr(row.info, field)
            if given is not None and not math.isclose(given, stored, rel_tol=1e-6):
                raise InvalidInputError(
                    f"The database's model {name!r} has the {field} {stored:g}, not {given:g}. Leave it out, or import "
                    "under another name."
                )
        return row

    return database.transact(register)


def import_vectors(
    database: Database, model: models.ModelRow, checked: CheckedInput, options: ImportOptions, *, progress: bool
) -> VectorImport:
    """Store what `check_input` has found to be right.

    A transaction holds some thousand rows. Killed in the middle, the import goes on where it was when it is started
    again: images that have a vector are skipped.

    Raises:
        DatabaseError: If PostgreSQL fails. What was stored before is kept.
    """
    from siglip_ingest.vectors.checking import round_vectors

    with database.connection() as connection:
        is_new = not has_images(connection, checked.collections)
    writer = _Writer(database, model, options, assume_new=is_new)
    vectors = checked.vectors
    stored: list[Stored] = []
    with (
        _bar(vectors.count, "imported", progress) as bar,
        ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="import_vectors") as threads,
    ):
        pending: set[Future[Stored]] = set()

        def collect(count: int) -> None:
            """Wait until at most `count` batches are on their way."""
            while len(pending) > count:
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                pending.difference_update(done)
                for future in done:
                    stored.append(future.result())
                    bar.update(stored[-1].imported + stored[-1].skipped + stored[-1].replaced)

        try:
            for batch in checked.batches():
                narrow = round_vectors(batch.vectors, normalize=options.normalize)
                collect(CONNECTIONS)
                pending.add(threads.submit(writer.store, batch.records, narrow))
            collect(0)
        except BaseException:
            threads.shutdown(cancel_futures=True)
            raise
    return VectorImport(
        model_id=model.model_id,
        imported=sum(part.imported for part in stored),
        skipped=sum(part.skipped for part in stored),
        replaced=sum(part.replaced for part in stored),
    )


class _Writer:
    """Stores batches, from several threads."""

    def __init__(self, database: Database, model: models.ModelRow, options: ImportOptions, *, assume_new: bool) -> None:
        self._database = database
        self._model = model
        self._options = options
        self._assume_new = threading.Event()
        if assume_new:
            self._assume_new.set()

    def store(self, records: Sequence[Record], embeddings: NDArray[np.float16]) -> Stored:
        """Store a batch in a transaction of its own; tried again where another one was in the way."""

        def write(connection: Connection) -> Stored:
            assume_new = self._assume_new.is_set()
            try:
                return store_vectors(
                    connection,
                    self._model.model_id,
                    records,
                    embeddings,
                    replace=self._options.replace,
                    assume_new=assume_new,
                    has_ledger=not self._model.is_external,
                )
            except DatabaseConflictError:
                self._assume_new.clear()
                raise

        return self._database.transact(write)


def _bar(total: int, word: str, progress: bool) -> tqdm[Never]:
    from tqdm import tqdm

    return tqdm(total=total, unit=" vectors", desc=word, disable=not progress, leave=False)
