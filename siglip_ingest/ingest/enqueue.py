"""Queues images: writes them and their ledger items to the database, as they come."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from siglip_ingest.db import Connection, Database, images, ingestions
from siglip_ingest.db.checks import check_mapping, check_name
from siglip_ingest.db.model_changes import list_kept_models
from siglip_ingest.db.models import check_loadable, hold_active_model
from siglip_ingest.errors import InvalidInputError, NotFoundError, SiglipError
from siglip_ingest.ingest.expand import ImageSource, expand
from siglip_ingest.ingest.found import DEFAULT_OPTIONS, ExpandOptions
from siglip_ingest.ingest.ingestion import Ingestion
from siglip_ingest.types import DEFAULT_COLLECTION

if TYPE_CHECKING:
    from siglip_ingest.ingest.expand import Source

ROWS_PER_PART = 5000  # images that are written in one transaction
BYTES_PER_PART = 64_000_000  # of images that are given as bytes
SECONDS_PER_PART = 1.0  # what a generator gave is written after that, for workers to begin
PROGRESS_AFTER_S = 2.0


def enqueue_images(
    database: Database,
    sources: Source | Iterable[Source],
    *,
    model_id: int | None = None,
    collection: str = DEFAULT_COLLECTION,
    metadata: Mapping[str, Any] | None = None,
    check_worker: Callable[[int], None] | None = None,
    on_queued: Callable[[int, int], None] = lambda _model_id, _count: None,
    progress: bool | None = None,
    options: ExpandOptions = DEFAULT_OPTIONS,
) -> Ingestion:
    """Write images and their ledger items, some thousand in a transaction. Nothing but the database has to be up.

    Sources are read as they come, so that any number of them takes constant memory; workers begin with the first.

    Args:
        database: Where they are stored.
        sources: One source or many: paths, folders (searched for images, subfolders too), http(s) URLs, bytes of
            image files, PIL images, or `ImageSource`s.
        model_id: The model to embed them with; by default the one that is active when the first of them are written.
        collection: The set of images that they join.
        metadata: JSON kept with each image.
        check_worker: Called with the model's key while `Ingestion.wait` sees no progress; raises if no worker can make
            any.
        on_queued: Called with the model's key and a number of images once these are queued.
        progress: Whether to draw a progress bar on stderr; by default where that is a terminal.
        options: How images are looked for.

    Raises:
        InvalidInputError: If a file doesn't exist, a folder holds no images, or something isn't a source or isn't
            JSON. If that is among the first `ROWS_PER_PART` images of a list or a folder, nothing is queued; else
            those before stay queued, and the message says so. A generator's are written a second after they came.
        NotFoundError: If no model is active yet.
        InvalidInputError: If the active model is external. Then nothing is written.
    """
    check_name(collection, "A collection")
    check_mapping(metadata, "metadata")
    common = dict(metadata or {})
    many = _as_many(sources)
    queue = _Queue(database, collection, model_id, on_queued)
    rows = (row for source in many for row in expand(source, collection, common, options))
    is_patient = isinstance(many, Sized)
    with _progress_bar(progress, many) as note, queue.completed():
        for part in _cut(rows, is_patient=is_patient):
            note(queue.write_behind(part))
        note(queue.flush())
    if queue.ingestion_id is None or queue.model_id is None:
        raise InvalidInputError("No images were given: the list of sources is empty.")
    return Ingestion(database, queue.ingestion_id, queue.model_id, check_worker=check_worker)


class _Queue:
    """Writes the parts of one ingestion, which begins with the first of them."""

    def __init__(
        self, database: Database, collection: str, model_id: int | None, on_queued: Callable[[int, int], None]
    ) -> None:
        self.ingestion_id: int | None = None
        self.model_id = model_id
        self._follows_active = model_id is None
        self._database = database
        self._collection = collection
        self._on_queued = on_queued
        self._count = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="enqueue")
        self._writing: Future[int] | None = None

    def write_behind(self, rows: Sequence[images.ImageRow]) -> int:
        """Write one part in a thread, while the next is read; returns how many images the part before had."""
        count = self.flush()
        self._writing = self._thread.submit(self._write_part, rows)
        return count

    def flush(self) -> int:
        """Wait for the part that is being written; returns how many images it has."""
        writing, self._writing = self._writing, None
        return 0 if writing is None else writing.result()

    def _write_part(self, rows: Sequence[images.ImageRow]) -> int:
        """Write one part in one transaction."""
        self.model_id, self.ingestion_id, queued = self._database.transact(
            lambda connection: self._write(connection, rows)
        )
        self._count += len(rows)
        if queued:
            self._on_queued(self.model_id, queued)
        return len(rows)

    @contextmanager
    def completed(self) -> Iterator[None]:
        """Note at the end that no more images come; an error says what is queued in spite of it."""
        try:
            try:
                yield
            finally:
                self._thread.shutdown()  # what is being written is written
        except SiglipError as error:
            if self.ingestion_id is None:
                raise
            self._complete()
            message = (
                f"{str(error).rstrip()} The {self._count:,} images before it are queued: `siglip-ingest wait "
                f"{self.ingestion_id}` follows them."
            )
            error.args = (message, *error.args[1:])
            raise
        except BaseException:
            self._complete()
            raise
        self._complete()

    def _complete(self) -> None:
        if (ingestion_id := self.ingestion_id) is not None:
            self._database.transact(lambda connection: ingestions.complete_ingestion(connection, ingestion_id))

    def _write(self, connection: Connection, rows: Sequence[images.ImageRow]) -> tuple[int, int, int]:
        active_id = _hold_active_model(connection) if self._follows_active else None
        model_id = self.model_id if self.model_id is not None else active_id
        assert model_id is not None  # noqa: S101  # one of the two is there
        ingestion_id = self.ingestion_id
        if ingestion_id is None:
            ingestion_id = ingestions.create_ingestion(connection, model_id, self._collection)
        others: set[int] = set()
        if active_id is not None:  # the active model may have been changed since the first part
            others = {active_id, *list_kept_models(connection)} - {model_id}
        written = images.insert_images(connection, rows, model_id, *sorted(others))
        ingestions.add_images(connection, ingestion_id, written.image_ids)
        return model_id, ingestion_id, written.queued


def _hold_active_model(connection: Connection) -> int:
    """The active model's key. It stays active until the images are written: a switch then queues what it lacks."""
    active = hold_active_model(connection)
    if active is None:
        raise NotFoundError("No model is active in this database yet. Start a worker (`siglip-ingest worker`).")
    check_loadable(active, "an image")
    return active.model_id


def _as_many(sources: Source | Iterable[Source]) -> Iterable[Source]:
    if isinstance(sources, str | bytes | bytearray | os.PathLike | ImageSource) or hasattr(sources, "getexif"):
        return [cast("Source", sources)]
    if isinstance(sources, Iterable):
        return sources
    raise InvalidInputError(
        f"Images are paths, URLs, bytes or PIL images, or a list of them, not {type(sources).__name__}."
    )


def _cut(rows: Iterable[images.ImageRow], *, is_patient: bool) -> Iterator[list[images.ImageRow]]:
    """Cut rows into parts that fit into one transaction; of a URI that comes twice in a part, the last one counts.

    Args:
        rows: As they come.
        is_patient: Whether a part waits until it is full, however long that takes.
    """
    part: dict[str, images.ImageRow] = {}
    size, is_first = 0, True
    began = time.monotonic()
    try:
        for row in rows:
            part[row.uri] = row
            size += len(row.content or b"")
            is_due = not is_patient and time.monotonic() - began >= SECONDS_PER_PART
            if len(part) >= ROWS_PER_PART or size >= BYTES_PER_PART or is_due:
                yield list(part.values())
                part, size, is_first, began = {}, 0, False, time.monotonic()
    except SiglipError:
        if part and not is_first:  # as those before it
            yield list(part.values())
        raise
    if part:
        yield list(part.values())


@contextmanager
def _progress_bar(progress: bool | None, sources: Iterable[object]) -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm

    is_shown = sys.stderr.isatty() if progress is None else progress
    total = len(sources) if isinstance(sources, Sized) and len(sources) > ROWS_PER_PART else None
    with tqdm(
        desc="Queueing",
        total=total,
        unit=" images",
        disable=not is_shown,
        file=sys.stderr,
        leave=False,
        delay=PROGRESS_AFTER_S,
    ) as bar:
        yield bar.update
