"""Reads the bytes of indexed images again, for the person who runs the program: to show them, or to look closer."""

from __future__ import annotations

from collections.abc import Callable

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.images import get_source_versions, load_content
from siglip_ingest.errors import ImageError, NotFoundError
from siglip_ingest.sources import SourcePolicy, fetch
from siglip_ingest.sources.members import split_member
from siglip_ingest.sources.settings import SourceSettings

GIVEN_AS_BYTES = "sha256:"  # such a URI leads nowhere: the database has the bytes


def read_image(
    get_database: Callable[[], Database | None],
    image_id: int,
    uri: str,
    settings: SourceSettings,
    *,
    timeout_s: float | None = None,
) -> bytes:
    """Return the bytes of an indexed image's file, from where it is or from the database.

    Args:
        get_database: Called where the database is needed: for images that were given as bytes, and for members of
            tars. Returns None where it is closed.
        image_id: Key in `siglip.images`.
        uri: As stored there.
        settings: What may be read, how large it may be, and how long the web may take.
        timeout_s: Seconds that the web has instead.

    Raises:
        ImageError: With a code of `sources.fetch`, or `closed` where the database is needed and closed.
        ConfigurationError: If the URI is a web address and httpx isn't installed.
    """
    is_given, is_member = uri.startswith(GIVEN_AS_BYTES), split_member(uri)[1] is not None
    version = None
    if is_given or is_member:
        database = get_database()
        if database is None:
            raise ImageError("The client is closed that would read this image.", code="closed")
        with database.connection() as connection:
            if is_given:
                return _load_content(connection, image_id, settings.max_image_bytes)
            version = get_source_versions(connection, [image_id]).get(image_id)
    return fetch(
        uri,
        max_image_bytes=settings.max_image_bytes,
        timeout_s=settings.fetch_timeout_s if timeout_s is None else timeout_s,
        policy=SourcePolicy.for_user(settings),
        version=version,
    )


def _load_content(connection: Connection, image_id: int, max_image_bytes: int) -> bytes:
    try:
        return load_content(connection, image_id, max_image_bytes=max_image_bytes)
    except NotFoundError as error:
        raise ImageError("The image isn't in the database any more.", code="not_found") from error
