"""Queues images: writes them and their ledger items to the database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from siglip_ingest.db import Connection, Database, images
from siglip_ingest.db.checks import check_mapping, check_name
from siglip_ingest.db.models import check_loadable, hold_active_model
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.ingest.expand import ImageSource, expand
from siglip_ingest.ingest.found import DEFAULT_OPTIONS, ExpandOptions
from siglip_ingest.ingest.ingestion import Ingestion
from siglip_ingest.types import DEFAULT_COLLECTION

if TYPE_CHECKING:
    from siglip_ingest.ingest.expand import Source


def enqueue_images(
    database: Database,
    sources: Source | Iterable[Source],
    *,
    model_id: int | None = None,
    collection: str = DEFAULT_COLLECTION,
    metadata: Mapping[str, Any] | None = None,
    check_worker: Callable[[int], None] | None = None,
    options: ExpandOptions = DEFAULT_OPTIONS,
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
        options: How images are looked for.

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
        for row in expand(source, collection, common, options):
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
