"""Images inside tar files: how they are called, and where in the tar their bytes are.

A member's URI is that of the tar with `#member=` and the member's percent-encoded name. Its version is the tar's, with
the place of the member: `<tar's version>@<offset>+<size>~<checksum of its header>`, in bytes from the tar's start. So
the URI stays what it is when the tar is written again, and the version changes.
"""

from __future__ import annotations

import re
import tarfile
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from siglip_ingest.errors import ImageError

BLOCK_BYTES = 512  # a header's; it stands directly before the member's bytes
_MARK = "#member="
_PLACE = re.compile(r"(?P<version>.*)@(?P<offset>\d{1,18})\+(?P<size>\d{1,18})~(?P<checksum>\d{1,9})", re.DOTALL)


class Place(NamedTuple):
    """Where in a tar a member is.

    Attributes:
        tar_version: What tells that the tar was written again.
        offset: Of the member's first byte, in the tar.
        size: Of the member, in bytes.
        checksum: The one that its header states.
    """

    tar_version: str
    offset: int
    size: int
    checksum: int


def member_uri(tar_uri: str, name: str) -> str:
    """The URI of a member, given that of its tar and its name as `tarfile` reads it."""
    return f"{tar_uri}{_MARK}{quote_from_bytes(name.encode('utf-8', 'surrogateescape'))}"


def split_member(uri: str) -> tuple[str, str | None]:
    """The URI of a tar and the name of a member; the URI and None where it is none of a member."""
    tar_uri, mark, name = uri.rpartition(_MARK)
    return (tar_uri, unquote_to_bytes(name).decode("utf-8", "surrogateescape")) if mark else (uri, None)


def member_version(place: Place) -> str:
    """What is kept of a member's place."""
    return f"{place.tar_version}@{place.offset}+{place.size}~{place.checksum}"


def find_place(uri: str, version: str | None) -> Place:
    """Where a member is, by its version.

    Raises:
        ImageError: If the version says nothing of it.
    """
    match = _PLACE.fullmatch(version or "")
    if match is None or int(match["offset"]) < BLOCK_BYTES:
        raise ImageError(
            f"{split_member(uri)[0]} is a tar, and it isn't known where in it the image is: index the tar itself.",
            code="unsupported_source",
        )
    return Place(match["version"], int(match["offset"]), int(match["size"]), int(match["checksum"]))


def take_member(content: bytes, place: Place, where: str) -> bytes:
    """The bytes of a member, out of the part of its tar that begins with its header.

    Raises:
        ImageError: With code `changed` if another member stands there now.
    """
    try:
        header = tarfile.TarInfo.frombuf(content[:BLOCK_BYTES], "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise tar_changed(where) from error
    if (header.chksum, header.size, len(content)) != (place.checksum, place.size, BLOCK_BYTES + place.size):
        raise tar_changed(where)
    return content[BLOCK_BYTES:]


def tar_changed(where: str) -> ImageError:
    """Make the error for a member of a tar that was written again."""
    return ImageError(f"{where} has changed since it was indexed: index it again.", code="changed")
