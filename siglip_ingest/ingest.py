"""Queues images: `enqueue_images` writes them to the database, an `Ingestion` follows them until they are done."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.db import Connection, Database, images, items
from siglip_ingest.db.checks import check_key, check_mapping, check_name, is_storable
from siglip_ingest.db.models import check_loadable, hold_active_model
from siglip_ingest.errors import ImageError, InvalidInputError, NotFoundError, WorkerUnavailableError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.siglip.preprocess.folders import find_images
from siglip_ingest.types import DEFAULT_COLLECTION, ImageFailure, IngestCounts

if TYPE_CHECKING:
    from PIL import Image

    Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | ImageSource"

logger = logging.getLogger(__name__)

FIRST_POLL_S = 0.05
LAST_POLL_S = 1.0
CHECK_AFTER_S = 2.0  # without progress, a waiting ingestion looks after the worker
STALL_S = 30.0  # without progress, a waiting ingestion says so


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A source with a key and metadata of its own.

    Attributes:
        source: A path, a folder, an http(s) URL, the bytes of an image file, or a PIL image.
        key: What the image is called in your own tables; not for folders.
        metadata: Added to the metadata of the whole call, and wins over it.
    """

    source: str | os.PathLike[str] | bytes | Image.Image
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def enqueue_images(
    database: Database,
    sources: Source | Iterable[Source],
    *,
    model_id: int | None = None,
    collection: str = DEFAULT_COLLECTION,
    metadata: Mapping[str, Any] | None = None,
    check_worker: Callable[[int], None] | None = None,
) -> Ingestion:
    """Write images and their ledger items in one transaction. Nothing but the database has to be up.

    Args:
        database: Where they are stored.
        sources: One source or many: paths, folders (searched for images, subfolders too), http(s) URLs, bytes of
            image files, PIL images, or `ImageSource`s.
        model_id: The model to embed them with; by default the one that is active when they are written.
        collection: The set of images that they join.
        metadata: JSON kept with each image.
        check_worker: Called with the model's key while `Ingestion.wait` sees no progress; raises if no worker can make
            any.

    Raises:
        InvalidInputError: If a file doesn't exist, a folder holds no images, or something isn't a source or isn't
            JSON. Then nothing is written.
        NotFoundError: If no model is active yet.
        InvalidInputError: If the active model is external. Then nothing is written.
    """
    check_name(collection, "A collection")
    check_mapping(metadata, "metadata")
    common = dict(metadata or {})
    if isinstance(sources, str | bytes | bytearray | os.PathLike | ImageSource) or hasattr(sources, "getexif"):
        many: Iterable[Source] = [cast("Source", sources)]
    elif isinstance(sources, Iterable):
        many = sources
    else:
        raise InvalidInputError(
            f"Images are paths, URLs, bytes or PIL images, or a list of them, not {type(sources).__name__}."
        )
    rows: dict[str, images.ImageRow] = {}
    for source in many:
        for row in _expand(source, collection, common):
            rows[row.uri] = row
    if not rows:
        raise InvalidInputError("No images were given: the list of sources is empty.")

    def write(connection: Connection) -> tuple[int, list[int]]:
        chosen = _hold_active_model(connection) if model_id is None else model_id
        return chosen, images.insert_images(connection, list(rows.values()), chosen)

    chosen, image_ids = database.transact(write)
    return Ingestion(database, image_ids, chosen, check_worker=check_worker)


def _hold_active_model(connection: Connection) -> int:
    """The active model's key. It stays active until the images are written: a switch then queues what it lacks."""
    active = hold_active_model(connection)
    if active is None:
        raise NotFoundError("No model is active in this database yet. Start a worker (`siglip-ingest worker`).")
    check_loadable(active, "an image")
    return active.model_id


class Ingestion:
    """The images of one `enqueue_images` call, followed through the ledger.

    Attributes:
        image_ids: Keys in `siglip.images`, in the order of the sources; a source given twice is there once.
        model_id: The model that they are embedded with.
    """

    def __init__(
        self,
        database: Database,
        image_ids: Sequence[int],
        model_id: int,
        *,
        check_worker: Callable[[int], None] | None = None,
    ) -> None:
        self.image_ids = list(image_ids)
        self.model_id = model_id
        self._database = database
        self._check_worker = check_worker

    def __repr__(self) -> str:
        return f"Ingestion({len(self.image_ids)} images, model_id={self.model_id})"

    def counts(self) -> IngestCounts:
        """How many are queued, in progress, done and failed."""
        with self._database.connection() as connection:
            return items.count_items(connection, self.image_ids, self.model_id)

    def failures(self) -> list[ImageFailure]:
        """The images that ended as failed, each with a code and a sentence."""
        with self._database.connection() as connection:
            return items.list_failures(connection, self.image_ids, self.model_id)

    def wait(self, timeout_s: float | None = None, *, progress: bool | None = None) -> IngestCounts:
        """Wait until every image is embedded or has failed.

        Args:
            timeout_s: Longest time to wait; None waits for as long as it takes, and says so once nothing has moved for
                half a minute.
            progress: Whether to draw a progress bar on stderr; by default where that is a terminal.

        Raises:
            WorkerUnavailableError: If `timeout_s` runs out. The images stay queued.
        """
        from tqdm import tqdm

        is_shown = sys.stderr.isatty() if progress is None else progress
        with tqdm(total=len(self.image_ids), unit=" images", disable=not is_shown, file=sys.stderr, leave=True) as bar:
            for counts in self._poll(timeout_s):
                bar.n = counts.done + counts.failed
                if counts.failed:
                    bar.set_postfix_str(f"{counts.failed} failed", refresh=False)
                bar.refresh()
                if counts.is_finished:
                    return counts
        raise WorkerUnavailableError(
            f"After {timeout_s:g} s: {counts}. What is queued stays queued. Is a worker running? "
            "`siglip-ingest worker` starts one."
        )

    def _poll(self, timeout_s: float | None) -> Iterator[IngestCounts]:
        """Yield the counts, ever more slowly while nothing changes, and complain when nothing changes for long."""
        started = moved = time.monotonic()
        said = -math.inf
        last: IngestCounts | None = None
        pause_s = FIRST_POLL_S
        while True:
            asked = time.monotonic()
            counts = self.counts()
            now = time.monotonic()
            if counts != last:
                last, moved, pause_s = counts, now, FIRST_POLL_S
            yield counts
            if timeout_s is not None and now - started >= timeout_s:
                return
            stalled_s = now - moved
            if self._check_worker is not None and stalled_s > CHECK_AFTER_S:
                self._check_worker(self.model_id)
            if stalled_s > STALL_S and now - said > 10 * STALL_S and not counts.is_finished:
                said = now
                logger.warning(
                    "No image has been embedded for %.0f s: %s. A worker may be loading its model, or images may be "
                    "waiting for their next attempt; if no worker is running, `siglip-ingest worker` starts one.",
                    stalled_s,
                    counts,
                )
            pause_s = min(LAST_POLL_S, max(1.3 * pause_s, 5 * (now - asked)))
            time.sleep(pause_s if timeout_s is None else max(0.0, min(pause_s, started + timeout_s - now)))


def path_of_uri(uri: str) -> Path | None:
    """The file that a `file://` URI names; None for other URIs."""
    parts = urlsplit(uri)
    return Path(os.fsdecode(unquote_to_bytes(parts.path))) if parts.scheme == "file" else None


def file_version(status: os.stat_result) -> str:
    """What tells a file that was written again from the same one: its time of writing and its size."""
    return f"{status.st_mtime_ns}-{status.st_size}"


def size_of_version(version: str | None) -> str:
    """The size in bytes within a `file_version`; of other versions, what no file has."""
    return (version or "").rpartition("-")[2]


def _expand(source: Source, collection: str, common: Mapping[str, Any]) -> Iterator[images.ImageRow]:
    """Turn one source into rows: one, or for a folder one for each image in it."""
    key, metadata = None, dict(common)
    if isinstance(source, ImageSource):
        check_mapping(source.metadata, "metadata")
        key, metadata, source = check_key(source.key), {**common, **(source.metadata or {})}, source.source
    for uri, version, content in _resolve(source):
        if key is not None and isinstance(source, str | os.PathLike) and content is None and Path(source).is_dir():
            raise InvalidInputError(f"{os.fspath(source)!r} is a folder: a key names one image. Leave the key out.")
        yield images.ImageRow(
            collection=collection, uri=uri, key=key, source_version=version, metadata=metadata, content=content
        )


def _resolve(source: Any) -> Iterator[tuple[str, str | None, bytes | None]]:
    """Yield (uri, source_version, content) of each image of a source."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield _resolve_content(bytes(source))
    elif isinstance(source, str) and is_web_address(source.strip()):
        yield _check_address(source.strip()), None, None
    elif isinstance(source, str | os.PathLike):
        yield from _resolve_path(os.fspath(source))
    elif hasattr(source, "getexif"):
        yield _resolve_content(_encode(source))
    else:
        raise InvalidInputError(f"An image is a path, a URL, bytes or a PIL image, not {type(source).__name__}.")


def _resolve_path(text: str | bytes) -> Iterator[tuple[str, str, None]]:
    path = _to_path(os.fsdecode(text))
    try:
        if path.is_dir():
            found = find_images(path)
            files = found.paths
            if not files:
                raise InvalidInputError(
                    f"The folder {path} holds no images that can be read: {found.describe_skipped()}."
                )
            if skipped := found.describe_undecodable():
                logger.warning("In the folder %s %s.", path, skipped)
        else:
            files = [path]
        for file in files:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInputError(f"{file} is neither a file nor a folder.")
            yield file.as_uri(), file_version(status), None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(f"There is no file or folder {error.filename}.") from error
    except OSError as error:
        raise InvalidInputError(f"{error.filename or path} can't be read: {error.strerror}.") from error


def _to_path(text: str) -> Path:
    """The absolute path of what a user typed: links are kept, `..` isn't."""
    path = path_of_uri(text)
    if path is None:
        scheme, separator, _ = text.partition("://")
        if separator and scheme.isalnum():
            raise InvalidInputError(
                f"{text!r} can't be read: images come from files, http:// and https://, not from {scheme}://."
            )
        path = expand_user(text)
    if not text.strip() or not _is_encodable(path):
        raise InvalidInputError(f"{text!r} can't be the path of an image.")
    path = path.absolute()
    return path.parent.resolve() / path.name if ".." in path.parent.parts else path


def _is_encodable(path: Path) -> bool:
    """False for what no file can be called."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _resolve_content(content: bytes) -> tuple[str, None, bytes]:
    if not content:
        raise InvalidInputError("An image was given as bytes, but there are none: the bytes object is empty.")
    return f"sha256:{hashlib.sha256(content).hexdigest()}", None, content


def _check_address(address: str) -> str:
    try:
        is_complete = bool(urlsplit(address).hostname)
    except ValueError:
        is_complete = False
    if not is_complete or not is_storable(address):
        raise InvalidInputError(f"{address!r} isn't a complete address.")
    return address


def _encode(image: Image.Image) -> bytes:
    """The upright image as a PNG file, without loss."""
    from siglip_ingest.siglip.preprocess.decode import encode_png

    try:
        return encode_png(image)
    except ImageError as error:
        raise InvalidInputError(str(error)) from error
