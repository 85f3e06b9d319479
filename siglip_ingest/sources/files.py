"""Reads local files that a policy allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess import files
from siglip_ingest.sources.members import BLOCK_BYTES, Place, take_member, tar_changed
from siglip_ingest.sources.policy import SourcePolicy


def read_file(path: Path, *, max_image_bytes: int, policy: SourcePolicy) -> bytes:
    """Read a regular file that a policy allows.

    Raises:
        ImageError: With code `not_allowed`, or as `siglip.preprocess.files.read_file` does. What lies outside of the
            allowed folders is `not_allowed` whether it exists or not.
    """
    return files.read_file(path, max_image_bytes=max_image_bytes, check_path=_require_allowed(path, policy))


@contextmanager
def open_file(path: Path, *, policy: SourcePolicy) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file that a policy allows; yields it and its size in bytes. Raises as `read_file` does."""
    with files.open_regular(path, _require_allowed(path, policy)) as (file, status):
        yield file, status.st_size


def read_member(path: Path, place: Place, *, policy: SourcePolicy) -> bytes:
    """Read a member of a tar file that a policy allows, with one seek.

    Raises:
        ImageError: As `read_file` does; with code `changed` if the tar isn't as it was.
    """
    with files.open_regular(path, _require_allowed(path, policy)) as (file, status):
        if file_version(status) != place.tar_version:
            raise tar_changed(str(path))
        file.seek(place.offset - BLOCK_BYTES)
        return take_member(file.read(BLOCK_BYTES + place.size), place, str(path))


def file_version(status: os.stat_result) -> str:
    """What tells a file that was written again from the same one: its time of writing and its size."""
    return f"{status.st_mtime_ns}-{status.st_size}"


def _require_allowed(path: Path, policy: SourcePolicy) -> Callable[[str], None]:
    """What raises for a path that a policy doesn't allow, given it without links and `..`."""

    def require_allowed(real_path: str) -> None:
        if policy.allows_file(real_path):
            return
        if not policy.allowed_roots:
            message = (
                f"{path} isn't read, as no local file is: SIGLIP_ALLOWED_ROOTS names the folders that may be read."
            )
        else:
            message = f"{path} isn't read: it doesn't lie in a folder that SIGLIP_ALLOWED_ROOTS names."
        raise ImageError(message, code="not_allowed")

    return require_allowed
