"""Deleting images, and a collection that follows a folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from siglip_ingest import active_model, ingest, syncing
from siglip_ingest.client.indexing import IndexingClient
from siglip_ingest.db import images
from siglip_ingest.process import expand_user
from siglip_ingest.types import DEFAULT_COLLECTION


class DeletingClient(IndexingClient):
    """The part of `SiglipClient` that forgets."""

    def delete_images(
        self,
        image_ids: Iterable[int] | None = None,
        *,
        uris: Sequence[str] | None = None,
        keys: Sequence[str | int] | None = None,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        dry_run: bool = False,
    ) -> int:
        """Delete the images that all given conditions fit, with their bytes, vectors, scores and ledger.

        A content that another image has too stays. docs/deleting.md says what PostgreSQL keeps for a while.

        Args:
            image_ids: Keys in `siglip.images`.
            uris: Where they are: `file:///...`, `https://...`, `sha256:...`.
            keys: Your own keys.
            collection: The images of this collection.
            filter: Images whose metadata contain these keys and values.
            dry_run: Only count them.

        Returns:
            How many images were, or would be, deleted.

        Raises:
            InvalidInputError: If no condition is given, or one is of the wrong kind.
        """
        selection = images.Selection(
            image_ids=None if image_ids is None else list(image_ids),
            uris=uris,
            keys=keys,
            collection=collection,
            filter=filter,
        )
        if dry_run:
            with self.database.connection() as connection:
                return images.count_images(connection, selection)
        return images.delete_images(self.database, selection)

    def plan_sync(
        self, folder: str | Path, *, collection: str = DEFAULT_COLLECTION, allow_empty: bool = False
    ) -> syncing.SyncPlan:
        """Compare a folder with a collection: what is new, changed, moved and gone. Changes nothing.

        Args:
            folder: Searched for images, subfolders too.
            collection: The set of images that follows the folder.
            allow_empty: Accept that a folder is empty of which the collection has images; else a mount may be missing,
                and they stay.

        Raises:
            InvalidInputError: If there is no such folder, or it has no images at all where it had some.
        """
        return syncing.plan_sync(self.database, expand_user(folder), collection, allow_empty=allow_empty)

    def sync_folder(
        self,
        folder: str | Path,
        *,
        collection: str = DEFAULT_COLLECTION,
        metadata: Mapping[str, Any] | None = None,
        allow_empty: bool = False,
    ) -> tuple[syncing.SyncPlan, ingest.Ingestion | None]:
        """Make a collection as a folder is: new and changed files are queued, moved ones keep vectors, gone ones go.

        Images of the collection that come from elsewhere stay; the plan names them.

        Args:
            folder: Searched for images, subfolders too.
            collection: The set of images that follows the folder.
            metadata: Kept with each image that is new or changed.
            allow_empty: Accept that a folder is empty of which the collection has images; else a mount may be missing,
                and they stay.

        Returns:
            What was done, and the images that were queued; None where there are none.

        Raises:
            InvalidInputError: If there is no such folder, or it has no images at all where it had some.
        """
        active_model.choose_model(self.database, self.settings.model, self.settings.max_num_patches)
        plan = self.plan_sync(folder, collection=collection, allow_empty=allow_empty)
        ingestion = syncing.apply_sync(
            self.database, plan, collection, metadata, check_worker=self._check_worker, on_queued=self._tell_workers
        )
        return plan, None if ingestion is None else self._with_worker(ingestion)

    def prune_images(self, *, collection: str | None = None, dry_run: bool = False) -> syncing.PrunePlan:
        """Delete the images whose file is gone.

        Where nothing of a folder is there, its images stay: a mount may be missing.

        Args:
            collection: Only the images of this collection.
            dry_run: Only look.

        Returns:
            What was, or would be, deleted; and what wasn't found and stays.
        """
        plan = syncing.plan_prune(self.database, collection)
        if not dry_run:
            syncing.delete_sources(self.database, plan.gone)
        return plan
