"""A model change without an outage: embedding under another model beside the active one, and switching to it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from siglip_ingest import active_model, ingest, labeling
from siglip_ingest.client.indexing import IndexingClient
from siglip_ingest.db import Connection, checks, model_changes, search
from siglip_ingest.db.labels import list_missing_labels
from siglip_ingest.db.models import ModelRow, find_model, get_active_model, get_model
from siglip_ingest.embedders.local import check_checkpoint, has_torch, load_embedder
from siglip_ingest.errors import SiglipError
from siglip_ingest.types import CollectionCoverage, ImageMatch, ModelComparison, ModelCoverage

logger = logging.getLogger(__name__)

LABELS_TIMEOUT_S = 60.0


class ModelChangingClient(IndexingClient):
    """The part of `SiglipClient` that changes the active model."""

    def add_model(self, name: str) -> ingest.Ingestion:
        """Have all images embedded under another checkpoint too, and new ones under both.

        Searches go on with the active model. Once the ingestion has ended, or `model_coverage` says so,
        `switch_model(name)` makes the new one active. Called again, it queues what is missing.

        Args:
            name: Of the checkpoint: `demo`, a folder, or a hub name.

        Returns:
            All images under the new model; `wait` follows them.

        Raises:
            CheckpointError: If `name` can't be the name of a checkpoint.
        """
        model_id = active_model.queue_for_model(self.database, name).model_id
        ingestion = self._follow_model(model_id)
        if self.settings.is_embedded:  # beside the worker of the active model it has one for each that is kept
            with self.database.connection() as connection:
                active = get_active_model(connection)
            self._workers.ensure_worker(self.database, model_id if active is None else active.model_id)
        return ingestion

    def model_coverage(self) -> list[ModelCoverage]:
        """How much of all images each model has, and how fast its workers are; oldest first."""
        with self.database.connection() as connection:
            return model_changes.list_coverage(connection)

    def collection_coverage(self) -> list[CollectionCoverage]:
        """How much of each collection each model has."""
        with self.database.connection() as connection:
            return model_changes.list_collection_coverage(connection)

    def compare_models(
        self,
        model_a: str | int,
        model_b: str | int,
        *,
        k: int = 10,
        max_queries: int = 100,
        max_labels: int = 20,
        max_images: int = 1000,
        timeout_s: float | None = None,
    ) -> list[ModelComparison]:
        """Compare two models by what people asked, and by the images that they marked.

        Args:
            model_a: Name or `model_id` of the first model: the queries are those that were asked of it.
            model_b: Of the second. Queries that it has no vector of are embedded by its workers, where some run.
            k: Results that are looked at.
            max_queries: Queries, those that were used last.
            max_labels: Labels, those with the most marks.
            max_images: Images whose labels are compared, drawn at random.
            timeout_s: Seconds that a worker has to embed one query; by default 10.

        Raises:
            NotFoundError: If one of them isn't in the database, or no worker has loaded it.
            InvalidInputError: If both are the same, or a number is out of range.
        """
        with self.database.connection() as connection:
            return model_changes.compare_models(
                connection,
                model_changes.find_model_id(connection, model_a),
                model_changes.find_model_id(connection, model_b),
                k=k,
                max_queries=max_queries,
                max_labels=max_labels,
                max_images=max_images,
                timeout_s=timeout_s,
            )

    def search_with_model(
        self, model: str | int, query: str, *, limit: int = 10, collection: str | None = None
    ) -> list[ImageMatch]:
        """Find the images that fit a text under any model that has vectors, to compare it with the active one.

        Args:
            model: Its name or `model_id`.
            query: What the images show, in words.
            limit: Most matches to return, 1 to 10,000.
            collection: Search only this collection.

        Raises:
            NotFoundError: If there is no such model.
            WorkerUnavailableError: If the text has no vector under it yet, and none of its workers answers.
        """
        with self.database.connection() as connection:
            model_id = model_changes.find_model_id(connection, model)
        checks.check_query(query)
        options = search.SearchOptions(limit=limit, collection=collection)
        timeout_s = self.settings.embed_timeout_s
        return search.find_by_text(self.database, query, options, timeout_s=timeout_s, model_id=model_id)

    def drop_model(
        self, model: str | int, *, wait: bool = True, on_step: Callable[[str], None] = lambda _: None
    ) -> None:
        """Take a model away that isn't active, with its vectors; searches and workers go on meanwhile.

        Args:
            model: Its name or `model_id`.
            wait: Whether to free its space before this returns; else the workers do it.
            on_step: Called with a sentence after each step of that.

        Raises:
            NotFoundError: If there is no such model.
            DatabaseError: If it is the active one.
        """

        def drop(connection: Connection) -> None:
            model_changes.drop_model(connection, model_changes.find_model_id(connection, model))

        self.database.transact(drop)
        if wait:
            active_model.free_dropped(self.database, on_step)

    def embed_under_model(self) -> ingest.Ingestion:
        """Queue every image for the settings' model, beside the active one, which searches go on using.

        New images are embedded under both from then on. Once the ingestion has ended,
        `switch_model(ingestion.model_id)` makes it the active one: a model change without an outage. `siglip-ingest
        worker` without SIGLIP_MODEL serves both; the embedded worker is started here.
        """
        name, max_num_patches = self.settings.model or self.model.name, self.settings.max_num_patches
        check_checkpoint(name, max_num_patches=max_num_patches)  # before anything is queued
        model_id = active_model.queue_for_model(self.database, name, max_num_patches).model_id
        try:
            return self._with_worker(self._follow_model(model_id))
        except SiglipError:
            self.give_up_model(model_id)
            raise

    def find_external_model(self, name: str) -> int | None:
        """The key of the external model of that name, which `switch_model` takes as it is; None where there is none."""
        with self.database.connection() as connection:
            row = find_model(connection, name)
        return row.model_id if row is not None and row.is_external else None

    def follow_model(self, model_id: int) -> ingest.Ingestion:
        """Queue what has come since `embed_under_model`, and follow all images of the model once more."""
        self._workers.send_tickets(model_id, active_model.queue_missing(self.database, model_id))
        return self._with_worker(self._follow_model(model_id))

    def give_up_model(self, model_id: int) -> None:
        """Take back an `embed_under_model` that failed; the embedded worker serves the active model again.

        A model that got some vectors stays in the database, and `embed_under_model` goes on with it.
        """
        with contextlib.suppress(SiglipError):  # what failed before is what there is to say
            active = active_model.give_up_model(self.database, model_id)
            if active is not None:
                self._workers.restore_worker(active.name)

    def switch_model(
        self,
        model: str | int,
        *,
        force: bool = False,
        keep_old: bool = True,
        wait_for_labels_s: float = LABELS_TIMEOUT_S,
    ) -> None:
        """Make a model the one that searches, labels and new images use, once the labels have its vectors too.

        What was indexed meanwhile and has no vector under it yet is queued in the same transaction. Each search is of
        the one model or of the other.

        Args:
            model: Its name, or its key as `add_model` and `embed_under_model` gave it.
            force: Whether to switch though images or labels of the active model have no vector under it yet: they
                aren't found until its workers have embedded them.
            keep_old: Whether new images are embedded under the old one too, so that `switch_model` goes back at once.
            wait_for_labels_s: Seconds that its workers have to embed the labels, where this process can't.

        Raises:
            NotFoundError: If there is no such model.
            DatabaseError: If it lacks something, and `force` is False; the message says what.
        """
        with self.database.connection() as connection:
            row = get_model(connection, model_changes.find_model_id(connection, model))
            has_gaps = not row.is_external and bool(list_missing_labels(connection, row.model_id))
        if has_gaps and has_torch():
            labeling.embed_labels_for_model(
                self.database, load_embedder(row.name, self.settings, known=row.info), row.model_id
            )
        if not force:
            timeout_s = wait_for_labels_s if has_gaps else 0.0
            self.database.transact(
                lambda connection: model_changes.switch_model(
                    connection, row.model_id, force=False, keep_old=keep_old, timeout_s=timeout_s
                )
            )
        elif not active_model.switch_model(
            self.database, row.model_id, wait_for_labels_s=wait_for_labels_s, keep_old=keep_old
        ):
            logger.warning(
                "Some labels have no vectors under %r yet: a worker of that model adds them once it runs.", row.name
            )
        self._follow_switch(row)

    def _follow_switch(self, row: ModelRow) -> None:
        """Tell the workers of the active model that it is."""
        if row.is_external:
            return  # there is nothing to embed
        self._workers.send_tickets(row.model_id, 1)
        try:  # it may serve the model of before
            self._workers.restore_worker(row.name)
        except SiglipError as error:
            logger.warning("The embedded worker doesn't serve the new model yet. %s", error)
