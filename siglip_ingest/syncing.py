"""Makes a collection follow a folder: what is new, changed, moved and gone; and finds images whose source is gone."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from siglip_ingest.db import Database, images
from siglip_ingest.db.checks import check_mapping, check_name
from siglip_ingest.db.images import Selection, StoredSource
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest import Ingestion, enqueue_images, file_version, path_of_uri, size_of_version
from siglip_ingest.siglip.preprocess.folders import find_images
from siglip_ingest.sources.members import split_member

logger = logging.getLogger(__name__)

_CHUNK = 2**20  # bytes that are hashed at a time


class MovedImage(NamedTuple):
    """An image whose content is in another file now.

    Attributes:
        source: What was stored.
        path: The file.
        version: Of the file, as it was when its content was compared.
    """

    source: StoredSource
    path: Path
    version: str


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """How a folder and a collection differ.

    Attributes:
        new: Files that the collection hasn't.
        changed: Files that were written since.
        moved: Images whose file is gone and whose content is in a file that is new.
        gone: Images whose file is gone.
        unreachable: Images whose file is gone with all else of a folder that is still there: a mount may be missing.
        unchanged: How many images are as they were.
        others: Images of the collection that come from elsewhere.
    """

    new: list[Path]
    changed: list[Path]
    moved: list[MovedImage]
    gone: list[StoredSource]
    unreachable: list[StoredSource]
    unchanged: int
    others: list[StoredSource]

    def __str__(self) -> str:
        return (
            f"{len(self.new):,} new, {len(self.changed):,} changed, {len(self.moved):,} moved, "
            f"{len(self.gone):,} deleted, {self.unchanged:,} unchanged"
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.new or self.changed or self.moved or self.gone)


def plan_sync(database: Database, folder: Path, collection: str, *, allow_empty: bool = False) -> SyncPlan:
    """Compare a folder with a collection; changes nothing.

    A file is taken for unchanged where its time of writing and its size are. A new file of the size of one that is gone
    is read, to see whether it is the same content at another place.

    Args:
        database: Has the collection.
        folder: Searched for images, subfolders too.
        collection: The set of images that follows the folder.
        allow_empty: Accept that a folder is empty of which the collection has images; else a mount may be missing, and
            they stay.

    Raises:
        InvalidInputError: If there is no such folder, or it has no images at all where it had some.
    """
    check_name(collection, "A collection")
    root = folder.absolute() if ".." not in folder.parts else folder.resolve()
    if not root.is_dir():
        raise InvalidInputError(f"There is no folder {root}.")
    try:
        found = find_images(root)
    except OSError as error:
        raise InvalidInputError(f"{error.filename or root} can't be read: {error.strerror}.") from error
    if skipped := found.describe_undecodable():
        logger.warning("In the folder %s %s.", root, skipped)
    versions = dict(_read_versions(found.paths))
    with database.connection() as connection:
        stored = images.list_sources(connection, collection)
    known = {path: source for source in stored if (path := _path_below(root, source)) is not None}
    missing_paths = [path for path in known if path not in versions]
    missing = [known[path] for path in missing_paths]
    if missing and not versions and not allow_empty:
        raise InvalidInputError(
            f"The folder {root} holds no images, and the collection {collection!r} has {len(missing):,} of it: a mount "
            "may be missing. Where they are meant to go, allow it (`--allow-empty`)."
        )
    new = [path for path in versions if path not in known]
    moved = list(_match_moved(missing, new, versions))
    moved_ids, moved_paths = {move.source.image_id for move in moved}, {move.path for move in moved}
    gone = [path for path in missing_paths if known[path].image_id not in moved_ids]
    unreachable = set() if allow_empty else set(_find_below_empty_folders(gone))
    changed = [
        path for path, source in known.items() if versions.get(path, source.source_version) != source.source_version
    ]
    return SyncPlan(
        new=[path for path in new if path not in moved_paths],
        changed=changed,
        moved=moved,
        gone=[known[path] for path in gone if path not in unreachable],
        unreachable=[known[path] for path in gone if path in unreachable],
        unchanged=len(known) - len(missing) - len(changed),
        others=[source for source in stored if _path_below(root, source) is None],
    )


def apply_sync(
    database: Database,
    plan: SyncPlan,
    collection: str,
    metadata: Mapping[str, Any] | None = None,
    *,
    check_worker: Callable[[int], None] | None = None,
    on_queued: Callable[[int, int], None] = lambda _model_id, _count: None,
) -> Ingestion | None:
    """Make a collection as its folder is: moves first, then what is new or changed, and what is gone last.

    Each part is safe once it is done; killed in between, the next sync does the rest.

    Returns:
        The images that are new or changed; None where there are none.
    """
    check_mapping(metadata, "metadata")
    if moved := [(move.source.image_id, move.path.as_uri(), move.version) for move in plan.moved]:
        database.transact(lambda connection: images.move_images(connection, moved))
    ingestion = None
    if queued := [path for path in (*plan.new, *plan.changed) if path.is_file()]:
        ingestion = enqueue_images(
            database,
            queued,
            collection=collection,
            metadata=metadata,
            check_worker=check_worker,
            on_queued=on_queued,
        )
    delete_sources(database, plan.gone)
    return ingestion


def delete_sources(database: Database, sources: Iterable[StoredSource]) -> int:
    """Delete images with all that was made of them; returns how many there were."""
    image_ids = [source.image_id for source in sources]
    return images.delete_images(database, Selection(image_ids=image_ids)) if image_ids else 0


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What became of the files of a collection.

    Attributes:
        gone: Images whose file is gone, while others of its folder are there.
        unreachable: Images whose file can't be found, and of whose folder nothing is there: a mount may be missing.
        checked: How many images of files were looked at.
    """

    gone: list[StoredSource]
    unreachable: list[StoredSource]
    checked: int


def plan_prune(database: Database, collection: str | None = None) -> PrunePlan:
    """Look for images whose file is gone, or the tar that they are in; changes nothing.

    Images of web addresses, of stores and of bytes aren't looked at.

    A file counts as gone where the nearest folder above it that exists still holds a file of another image, at any
    depth: else the whole of it may be a mount that is missing.
    """
    if collection is not None:
        check_name(collection, "A collection")
    with database.connection() as connection:
        sources = images.list_sources(connection, collection)
    # Of a tar's member, the tar.
    files = [(path, source) for source in sources if (path := path_of_uri(split_member(source.uri)[0])) is not None]
    there: set[Path] = set()
    missing = []
    for path, source in files:
        if path.is_file():
            there.update(path.parents)
        else:
            missing.append((path, source))
    gone: list[StoredSource] = []
    unreachable: list[StoredSource] = []
    for path, source in missing:
        (gone if _nearest_folder(path) in there else unreachable).append(source)
    return PrunePlan(gone, unreachable, len(files))


def _find_below_empty_folders(paths: Iterable[Path]) -> Iterator[Path]:
    """Those of some files that are gone of which the nearest folder above that exists is empty, as a mount point is."""
    is_empty: dict[Path, bool] = {}
    for path in paths:
        nearest = _nearest_folder(path)
        if nearest not in is_empty:
            is_empty[nearest] = next(nearest.iterdir(), None) is None
        if is_empty[nearest]:
            yield path


def _nearest_folder(path: Path) -> Path:
    """The nearest folder above a path that exists."""
    return next(parent for parent in path.parents if parent.is_dir())


def _path_below(root: Path, source: StoredSource) -> Path | None:
    path = path_of_uri(source.uri)
    return path if path is not None and path.is_relative_to(root) else None


def _read_versions(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Time of writing and size of each file, as `enqueue_images` keeps them; files that go meanwhile are left out."""
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        yield path, file_version(status)


def _match_moved(missing: list[StoredSource], new: list[Path], versions: Mapping[Path, str]) -> Iterator[MovedImage]:
    """Find new files whose content is that of an image whose file is gone; each image and file once."""
    by_content: dict[bytes, list[StoredSource]] = {}
    for source in reversed(missing):
        if source.content_hash is not None:
            by_content.setdefault(source.content_hash, []).append(source)
    sizes = {size_of_version(source.source_version) for sources in by_content.values() for source in sources}
    for path in new:
        if by_content and size_of_version(versions[path]) in sizes:
            candidates = by_content.get(_hash_file(path), [])
            if candidates:
                yield MovedImage(candidates.pop(), path, versions[path])


def _hash_file(path: Path) -> bytes:
    """SHA-256 of a file; of one that can't be read, what no file has."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return b""
    return digest.digest()
