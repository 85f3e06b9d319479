"""Reads the file of an indexed image again, wherever it was indexed from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.db import Database
from siglip_ingest.db.browsing import ImageLocation, find_source
from siglip_ingest.db.images import load_content
from siglip_ingest.errors import ImageError, NotFoundError
from siglip_ingest.siglip.preprocess.files import too_large
from siglip_ingest.siglip.preprocess.signatures import START_BYTES, find_format
from siglip_ingest.sources import SourcePolicy, fetch
from siglip_ingest.sources.files import open_file
from siglip_ingest.sources.members import split_member
from siglip_ingest.sources.settings import SourceSettings

BLOCK_BYTES = 1 << 18
GIVEN_AS_BYTES = "sha256:"  # such a URI leads nowhere: the database has the bytes


class ImageFile(NamedTuple):
    """The file of an indexed image, to be read once.

    Attributes:
        format: Pillow's name of its format, told by its first bytes.
        size: Bytes.
        blocks: Its content; a file is closed at its end, or when this is closed.
    """

    format: str
    size: int
    blocks: Iterator[bytes]


def read_image_file(
    database: Database, image_id: int, settings: SourceSettings, *, location: ImageLocation | None = None
) -> bytes:
    """Return the bytes of an indexed image's file, as it is now.

    Args:
        database: Has the image.
        image_id: Key in `siglip.images`.
        settings: Which files, hosts and stores may be read, and how much.
        location: Of the image, where it is known already.

    Raises:
        NotFoundError: If there is no such image.
        ImageError: If its file has gone, has become too large, or the settings don't allow that it is read.
        ConfigurationError: If it is on the web and httpx isn't installed.
    """
    location = location or find_source(database, image_id)
    if location.is_stored:
        with database.connection() as connection:
            return load_content(connection, image_id, max_image_bytes=settings.max_image_bytes)
    return _fetch(location.uri, settings, location.source_version, settings.fetch_timeout_s)


def read_match_file(
    get_database: Callable[[], Database | None], image_id: int, uri: str, settings: SourceSettings, *, timeout_s: float
) -> bytes:
    """Return the bytes of the file of an image that was found; the database is asked only where it must be.

    Args:
        get_database: Called for images that were given as bytes, and for members of tars. Returns None where the
            database is closed.
        image_id: Key in `siglip.images`.
        uri: As stored there.
        settings: Which files, hosts and stores may be read, and how much.
        timeout_s: Seconds that the web has.

    Raises:
        ImageError: As `read_image_file`; with code `closed` where the database is needed and closed.
        ConfigurationError: If it is on the web and httpx isn't installed.
    """
    if not uri.startswith(GIVEN_AS_BYTES) and split_member(uri)[1] is None:
        return _fetch(uri, settings, None, timeout_s)
    database = get_database()
    if database is None:
        raise ImageError("The client is closed that would read this image.", code="closed")
    try:
        return read_image_file(database, image_id, settings)
    except NotFoundError as error:
        raise ImageError("The image isn't in the database any more.", code="not_found") from error


def open_image_file(database: Database, image_id: int, settings: SourceSettings) -> ImageFile:
    """Open the file of an indexed image, to send it on: a local file is read block by block, however large it is.

    What isn't an image any more is refused: a path that was indexed may lead to another file by now.

    Raises:
        NotFoundError: If there is no such image.
        ImageError: As `read_image_file`; with code `not_an_image` if it isn't one.
        ConfigurationError: If it is on the web and httpx isn't installed.
    """
    location = find_source(database, image_id)
    is_local = urlsplit(location.uri).scheme == "file" and split_member(location.uri)[1] is None
    if location.is_stored or not is_local:
        content = read_image_file(database, image_id, settings, location=location)
        return ImageFile(_require_format(content), len(content), iter((content,)))
    path = Path(os.fsdecode(unquote_to_bytes(urlsplit(location.uri).path)))
    with ExitStack() as stack:
        file, size = stack.enter_context(open_file(path, policy=SourcePolicy.for_user(settings)))
        if size > settings.max_image_bytes:
            raise too_large(str(path), size, settings.max_image_bytes)
        start = file.read(START_BYTES)
        name = _require_format(start)
        held = stack.pop_all()

    def read_blocks() -> Iterator[bytes]:
        # Not more than was announced, though the file grows meanwhile.
        with held:
            left = size - len(start)
            yield start
            while left > 0 and (block := file.read(min(BLOCK_BYTES, left))):
                left -= len(block)
                yield block

    return ImageFile(name, size, read_blocks())


def _fetch(uri: str, settings: SourceSettings, version: str | None, timeout_s: float) -> bytes:
    return fetch(
        uri,
        max_image_bytes=settings.max_image_bytes,
        timeout_s=timeout_s,
        policy=SourcePolicy.for_user(settings),
        version=version,
    )


def _require_format(start: bytes) -> str:
    name = find_format(start[:START_BYTES])
    if name is None:
        raise ImageError("The image's file isn't an image any more.", code="not_an_image")
    return name
