"""Reads the bytes of an indexed image, wherever they are."""

from __future__ import annotations

from siglip_ingest.db import Database, images
from siglip_ingest.sources import SourcePolicy, fetch
from siglip_ingest.sources.settings import SourceSettings


def read_image(
    database: Database, image_id: int, settings: SourceSettings, *, policy: SourcePolicy | None = None
) -> bytes:
    """The bytes of an indexed image's file: from the database where it was given as bytes, else from its source.

    Args:
        database: Has the image.
        image_id: Key in `siglip.images`.
        settings: What may be read, how large it may be, and how long that may take.
        policy: Which sources may be read; by default what the settings say for the person who runs the program.

    Raises:
        NotFoundError: If there is no such image.
        ImageError: If it can't be read any more, may not be read, or is too large.
        ConfigurationError: If its source needs a package that isn't installed.
    """
    with database.connection() as connection:
        source = images.get_origin(connection, image_id)
        if source.has_content:
            return images.load_content(connection, image_id, max_image_bytes=settings.max_image_bytes)
    return fetch(
        source.uri,
        max_image_bytes=settings.max_image_bytes,
        timeout_s=settings.fetch_timeout_s,
        policy=policy or SourcePolicy.for_user(settings),
        version=source.source_version,
    )
