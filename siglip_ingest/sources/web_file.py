"""A file at a web address that is read in parts."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from siglip_ingest.sources.policy import SourcePolicy
from siglip_ingest.sources.web import download_part

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PART_S = 60.0


class WebFile(io.RawIOBase):
    """Reads what is at an http(s) address, each time as much as it is asked for; wrap it in `io.BufferedReader`.

    Attributes:
        version: What tells that it was written again, as its server says.

    Raises:
        ImageError: If it can't be fetched, or not in parts; reading raises it too.
    """

    def __init__(self, uri: str, policy: SourcePolicy) -> None:
        self._uri = uri
        self._policy = policy
        self._at = 0
        first = download_part(uri, 0, 1, timeout_s=_PART_S, policy=policy)
        self._size = first.size
        self.version = first.version

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, from the start, from here or from the end."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fetch as much as a buffer holds; returns how many bytes came."""
        view = memoryview(buffer)
        end = min(self._at + len(view), self._size)
        if end <= self._at:
            return 0
        content = download_part(self._uri, self._at, end, timeout_s=_PART_S, policy=self._policy).content
        view[: len(content)] = content
        self._at += len(content)
        return len(content)
