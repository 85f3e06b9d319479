"""Queueing images for indexing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from siglip_ingest import active_model, ingest
from siglip_ingest.client.base import BaseClient
from siglip_ingest.db import Connection, checks, ingestions, items
from siglip_ingest.ingest.found import ExpandOptions
from siglip_ingest.sources import SourcePolicy
from siglip_ingest.types import DEFAULT_COLLECTION, IngestCounts

if TYPE_CHECKING:
    from siglip_ingest.ingest.expand import Source


class IndexingClient(BaseClient):
    """The part of `SiglipClient` that queues images."""

    def enqueue_images(
        self,
        sources: Source | Iterable[Source],
        *,
        collection: str = DEFAULT_COLLECTION,
        metadata: Mapping[str, Any] | None = None,
        all_files: bool = False,
        exif: bool = False,
        progress: bool | None = None,
    ) -> ingest.Ingestion:
        """Queue images for indexing. They are safe in the database when this returns; workers embed them.

        Sources are read as they come: a generator of millions takes constant memory, and workers begin with the first.

        An image that is already in the collection under the same URI is embedded again only if its file has changed or
        it had failed; new metadata are merged into the old ones.

        Args:
            sources: One source or a sequence of them: a path, a folder (searched for images, subfolders too), a tar, an
                http(s) URL, the address of an object or a prefix in a store (`s3://bucket/photos/`), the bytes of an
                image file, a PIL image, or an `ImageSource` with a key and metadata of its own.
            collection: Name of the set of images that they join.
            metadata: Kept with each image, and what searches can filter by; must be JSON.
            all_files: In folders, tars and prefixes, find images by their first bytes where their names say nothing.
            exif: Have workers add `taken_at`, `camera`, `latitude`, `longitude` and `altitude` to the metadata, as far
                as an image's EXIF data have them.
            progress: Whether to draw a progress bar on stderr once it takes long; by default where that is a terminal.

        Raises:
            InvalidInputError: If a file doesn't exist or a folder holds no images. Of up to 5,000 images then nothing
                is queued; of more, those before stay queued, and the message says so.
            ConfigurationError: If a store needs a package that isn't installed.
        """
        active_model.choose_model(self.database, self.settings.model, self.settings.max_num_patches)
        policy = SourcePolicy.for_user(self.settings)
        ingestion = ingest.enqueue_images(
            self.database,
            sources,
            collection=collection,
            metadata=metadata,
            check_worker=self._check_worker,
            on_queued=self._tell_workers,
            progress=progress,
            options=ExpandOptions(all_files=all_files, exif=exif, policy=policy),
        )
        return self._with_worker(ingestion)

    def follow_ingestion(self, ingestion_id: int) -> ingest.Ingestion:
        """Follow images that this or another process has queued, by `Ingestion.ingestion_id`.

        Raises:
            NotFoundError: If there is no such ingestion; they are kept for 30 days.
        """
        with self.database.connection() as connection:
            model_id = ingestions.get_ingestion(connection, ingestion_id).model_id
        return self._with_worker(self._ingestion(ingestion_id, model_id))

    def join_ingestions(self, ingestion_id: int, other_id: int) -> int:
        """Follow images that were queued in two calls as one ingestion: the other one's join the first.

        Returns:
            The key of the ingestion that has the other one's images: still `other_id` where the active model was
            changed between the calls, or where they joined different collections.
        """
        joined = self.database.transact(lambda c: ingestions.join_ingestions(c, ingestion_id, other_id))
        return ingestion_id if joined else other_id

    def list_ingestions(self, limit: int = 10) -> list[tuple[ingestions.IngestionRow, IngestCounts]]:
        """The newest ingestions, the newest first, and how far each is."""
        with self.database.connection() as connection:
            rows = ingestions.list_ingestions(connection, limit)
            return [(row, ingestions.count_items(connection, row.ingestion_id)) for row in rows]

    def retry_failed(self, *, collection: str | None = None) -> ingest.Ingestion:
        """Queue the images that failed under the active model once more, in one collection or in all.

        Returns:
            All images of the collection, those included that are done.
        """
        if collection is not None:
            checks.check_name(collection, "A collection")
        model_id = self.model.model_id
        queued = self.database.transact(lambda connection: items.retry_failed(connection, model_id, collection))
        self._workers.send_tickets(model_id, queued)
        return self._with_worker(self._follow_model(model_id, collection))

    def retry_ingestion(self, ingestion_id: int) -> ingest.Ingestion:
        """Queue the images of an ingestion that failed once more, and follow it.

        Raises:
            NotFoundError: If there is no such ingestion; they are kept for 30 days.
        """
        with self.database.connection() as connection:
            model_id = ingestions.get_ingestion(connection, ingestion_id).model_id
        queued = self.database.transact(
            lambda connection: items.retry_failed(connection, model_id, ingestion_id=ingestion_id)
        )
        self._workers.send_tickets(model_id, queued)
        return self._with_worker(self._ingestion(ingestion_id, model_id))

    def _follow_model(self, model_id: int, collection: str | None = None) -> ingest.Ingestion:
        """All images that are to be embedded, are embedded, or have failed under a model, as one ingestion."""

        def gather(connection: Connection) -> int:
            ingestion_id = ingestions.create_ingestion(connection, model_id, collection)
            ingestions.add_images_of_model(connection, ingestion_id)
            return ingestion_id

        return self._ingestion(self.database.transact(gather), model_id)

    def _ingestion(self, ingestion_id: int, model_id: int) -> ingest.Ingestion:
        return ingest.Ingestion(self.database, ingestion_id, model_id, check_worker=self._check_worker)

    def _with_worker(self, ingestion: ingest.Ingestion) -> ingest.Ingestion:
        """Start the embedded worker where there is work for it."""
        if self.settings.is_embedded and not ingestion.counts().is_finished:
            self._workers.ensure_worker(self.database, ingestion.model_id)
        return ingestion

    def _tell_workers(self, model_id: int, count: int) -> None:
        """Images are queued: start the embedded worker, or tell those that there are."""
        if self.settings.is_embedded:
            self._workers.ensure_worker(self.database, model_id)
        else:
            self._workers.send_tickets(model_id, count)

    def _check_worker(self, model_id: int) -> None:
        self._workers.check_worker(self.database, model_id)
