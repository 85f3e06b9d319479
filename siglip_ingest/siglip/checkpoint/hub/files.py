"""One file from the hub into its cache: resumed where it stopped, and compared with what was published."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

from siglip_ingest.errors import DownloadError
from siglip_ingest.siglip.checkpoint.hub.cache import find_cache_folder, find_repository_folder, hash_blob
from siglip_ingest.siglip.checkpoint.names import HubName

PARTIAL_SUFFIX = ".siglip.incomplete"


class Progress:
    """Told how a download goes; this one keeps it to itself."""

    def start(self, total_bytes: int) -> None:
        """Begin, with so many bytes to come."""

    def advance(self, count: int) -> None:
        """Count bytes that arrived or were here already; negative where some have to come again."""

    def describe(self, text: str) -> None:
        """Say what is being done now."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub published it.

    Attributes:
        name: Its name; it lies in the repository's root.
        size_bytes: Its length; None where the hub's mirror doesn't say.
        digest: Its hash in hexadecimal, by which the cache names it; None where the mirror doesn't say.
    """

    name: str
    size_bytes: int | None
    digest: str | None

    @property
    def is_large(self) -> bool:
        """True for files that the hub keeps by their SHA-256; small ones lie in git under the hash of their blob."""
        return self.digest is not None and len(self.digest) == 64

    @classmethod
    def from_blob(cls, link: Path) -> HubFile:
        """What a snapshot's link says of its file: the cache names blobs by their hash."""
        blob = link.resolve().name
        return cls(link.name, None, blob if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob) else None)

    def count_missing_bytes(self, storage: Path, commit: str) -> int:
        """How much of it is yet to be fetched, going by what is there."""
        blob = storage / "blobs" / (self.digest or "")
        if (storage / "snapshots" / commit / self.name).exists() or (self.digest and blob.exists()):
            return 0
        partial = blob.with_name(blob.name + PARTIAL_SUFFIX)
        there = partial.stat().st_size if partial.exists() else 0
        return max((self.size_bytes or 0) - there, 0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What it took to have a file.

    Attributes:
        fetched_bytes: Bytes fetched now.
        was_damaged: Whether the cache had a damaged copy.
        was_compared: Whether its hash is known and is that of what was published.
    """

    fetched_bytes: int = 0
    was_damaged: bool = False
    was_compared: bool = True


def select_files(siblings: Iterable[Any], patterns: Iterable[str]) -> tuple[HubFile, ...]:
    """Pick a repository's files by name out of `ModelInfo.siblings`; folders in it are left alone."""
    wanted = tuple(patterns)
    return tuple(
        HubFile(sibling.rfilename, sibling.size, sibling.lfs["sha256"] if sibling.lfs else sibling.blob_id)
        for sibling in siblings
        if "/" not in sibling.rfilename and any(fnmatch.fnmatch(sibling.rfilename, pattern) for pattern in wanted)
    )


def is_intact(path: Path, file: HubFile, report: Callable[[int], None] | None = None) -> bool:
    """Compare a file with what was published: its size and its hash, each where it is known.

    Where neither is known this compares nothing, and true means nothing.
    """
    if file.size_bytes is not None and path.stat().st_size != file.size_bytes:
        return False
    if file.digest is None:
        if report is not None:
            report(path.stat().st_size)
        return True
    return hash_blob(path, "sha256" if file.is_large else "git", report) == file.digest


def fetch_file(name: HubName, file: HubFile, commit: str, progress: Progress) -> Outcome:
    """Have a file in the cache's snapshot of a commit, as it was published.

    Raises:
        DownloadError: If what arrives is not what was published, even when it is fetched again.
        Exception: What the hub's client, its HTTP library or the disk raise; `failures.explain` knows them.
    """
    from huggingface_hub import hf_hub_download

    link = find_repository_folder(name.repository) / "snapshots" / commit / file.name
    was_damaged = False
    if link.exists():
        progress.describe(f"Checking {file.name}")
        known = file if file.digest is not None else replace(file, digest=HubFile.from_blob(link).digest)
        if is_intact(link, known):
            progress.advance(link.stat().st_size)
            return Outcome(was_compared=known.digest is not None)
        was_damaged = True
        link.resolve().unlink()
        link.unlink(missing_ok=True)
    outcome = _fetch_blob(name, file, commit, progress)
    # The blob is there: what the client does now is to link it, in its own way for this kind of disk.
    arrived = Path(hf_hub_download(name.repository, file.name, revision=commit))
    if file.digest is None:  # then the client has fetched it, and named it by what the hub said of it at last
        file = HubFile.from_blob(arrived)
        outcome = Outcome(arrived.stat().st_size, was_compared=file.digest is not None)
        progress.advance(outcome.fetched_bytes)
        if not is_intact(arrived, file):
            arrived.resolve().unlink()
            arrived.unlink(missing_ok=True)
            raise _not_as_published(name, file)
    return replace(outcome, was_damaged=was_damaged or outcome.was_damaged)


def _fetch_blob(name: HubName, file: HubFile, commit: str, progress: Progress) -> Outcome:
    """Put a file where the hub's client looks for its content: it resumes no download of another process itself."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]  # a documented name

    if file.digest is None:
        return Outcome()
    storage = find_repository_folder(name.repository)
    blob = storage / "blobs" / file.digest
    lock = find_cache_folder() / ".locks" / storage.name / f"{file.digest}.lock"
    blob.parent.mkdir(parents=True, exist_ok=True)
    lock.parent.mkdir(parents=True, exist_ok=True)
    was_damaged = False
    with WeakFileLock(lock):
        if blob.exists():
            progress.describe(f"Checking {file.name}")
            if is_intact(blob, file):
                progress.advance(blob.stat().st_size)
                return Outcome()
            was_damaged = True
            blob.unlink()
        partial = blob.with_name(blob.name + PARTIAL_SUFFIX)
        fetched_bytes = 0
        for _attempt in range(2):  # a second time from the start: what was there before may have been damaged
            fetched_bytes += _download(name, file, commit, partial, progress)
            progress.describe(f"Checking {file.name}")
            if is_intact(partial, file):
                partial.replace(blob)
                return Outcome(fetched_bytes, was_damaged)
            progress.advance(-partial.stat().st_size)
            partial.unlink()
    raise _not_as_published(name, file)


def _download(name: HubName, file: HubFile, commit: str, partial: Path, progress: Progress) -> int:
    """Fetch what is missing of a file, for as long as each connection brings some of it; returns the bytes fetched."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # a documented name

    progress.describe(file.name)
    url = hf_hub_url(name.repository, file.name, revision=commit)
    if not file.is_large or (partial.exists() and partial.stat().st_size > (file.size_bytes or 0)):
        partial.unlink(missing_ok=True)  # small ones may come compressed, and then ranges mean something else
    found = partial.stat().st_size if partial.exists() else 0
    progress.advance(found)
    there = found
    while True:
        try:
            with partial.open("ab") as opened:
                http_get(
                    url,
                    cast("BinaryIO", _Counted(opened, progress)),
                    resume_size=there,
                    headers=build_hf_headers(),
                    expected_size=file.size_bytes,
                    displayed_filename=file.name,
                )
            return partial.stat().st_size - found
        except Exception:
            before, there = there, partial.stat().st_size
            if there <= before:
                raise


class _Counted:
    """A file that reports how it grows."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file = file
        self._progress = progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        self._progress.advance(len(data))
        return self._file.write(data)

    def truncate(self, size: int | None = None) -> int:
        before = self._measure()
        kept = self._file.truncate(size)
        self._progress.advance(kept - before)
        return kept

    def _measure(self) -> int:
        position = self._file.tell()
        length = self._file.seek(0, 2)
        self._file.seek(position)
        return length


def _not_as_published(name: HubName, file: HubFile) -> DownloadError:
    return DownloadError(
        f"{file.name} of {name} arrived with other content than was published (expected the "
        f"hash {file.digest}). Something between here and the hub alters it; nothing "
        "of it was kept. Try again, over another network or with another HF_ENDPOINT."
    )
