"""A folder of small files that doesn't grow beyond a limit."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_KEPT_SHARE = 0.9  # of the limit, after old ones were removed


class FileCache:
    """Files by name; those that weren't asked for the longest go first. Thread-safe.

    Several processes may share the folder: each file appears whole.

    Args:
        folder: Where the files are; made at first use.
        max_bytes: Most bytes of all files, roughly: it is looked at as they are written.

    Attributes:
        hits: How often a file was there.
        misses: How often it wasn't.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._making: dict[str, threading.Lock] = {}
        self._bytes: int | None = None
        self.hits = self.misses = 0

    def find(self, name: str) -> bytes | None:
        """The content of a file; None where it isn't there, or not any more."""
        return self._count(_read(self._path(name)))

    def get(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The content of a file, from the folder or by making it, once however many ask at a time.

        Args:
            name: Of the file: hexadecimal digits, at least three.
            make: Makes the content.
        """
        path = self._path(name)
        if (found := self._count(_read(path))) is not None:
            return found
        with self._lock:
            making = self._making.setdefault(name, threading.Lock())
        try:
            with making:
                if (found := _read(path)) is not None:
                    return found
                made = make()
                self._keep(path, made)
                return made
        finally:
            with self._lock:
                self._making.pop(name, None)

    def _count(self, found: bytes | None) -> bytes | None:
        with self._lock:
            if found is None:
                self.misses += 1
            else:
                self.hits += 1
        return found

    def _path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def _keep(self, path: Path, content: bytes) -> None:
        # A full or read-only disk costs time, not the answer.
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        with self._lock:
            known = self._bytes
            self._bytes = (self._measure() if known is None else known + len(content)) or len(content)
            if self._bytes > self._max_bytes:
                self._bytes = self._remove_oldest()

    def _measure(self) -> int:
        return sum(size for _, size, _ in self._list())

    def _list(self) -> list[tuple[float, int, Path]]:
        """Time of the last use, bytes and path of each file."""
        found = []
        for path in self._folder.glob("??/*"):
            with suppress(OSError):  # another process has removed it
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _remove_oldest(self) -> int:
        files = sorted(self._list())
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= _KEPT_SHARE * self._max_bytes:
                break
            path.unlink(missing_ok=True)
            total -= size
        return total


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):  # the time of the last use, on file systems that don't keep it too
        os.utime(path)
    return content
