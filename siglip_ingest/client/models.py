"""A model change without an outage: embedding under another model beside the active one, and switching to it."""

from __future__ import annotations

import contextlib
import logging

from siglip_ingest import active_model, ingest, labeling
from siglip_ingest.client.indexing import IndexingClient
from siglip_ingest.db.labels import list_missing_labels
from siglip_ingest.db.models import find_model, get_model
from siglip_ingest.embedders.local import check_checkpoint, has_torch, load_embedder
from siglip_ingest.errors import SiglipError

logger = logging.getLogger(__name__)

LABELS_TIMEOUT_S = 60.0


class ModelChangingClient(IndexingClient):
    """The part of `SiglipClient` that changes the active model."""

    def embed_under_model(self) -> ingest.Ingestion:
        """Queue every image for the settings' model, beside the active one, which searches go on using.

        Once the ingestion has ended, `switch_model(ingestion.model_id)` makes it the active one: a model change without
        an outage. Workers of that model are started with `SIGLIP_MODEL`; the embedded worker is started here.
        """
        name, max_num_patches = self.settings.model or self.model.name, self.settings.max_num_patches
        check_checkpoint(name, max_num_patches=max_num_patches)  # before anything is queued
        model_id = active_model.queue_for_model(self.database, name, max_num_patches).model_id
        try:
            return self._follow_model(model_id)
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
        return self._follow_model(model_id)

    def give_up_model(self, model_id: int) -> None:
        """Take back an `embed_under_model` that failed; the embedded worker serves the active model again.

        A model that got some vectors stays beside the active one, and `embed_under_model` goes on with it.
        """
        with contextlib.suppress(SiglipError):  # what failed before is what there is to say
            active = active_model.give_up_model(self.database, model_id)
            if active is not None:
                self._workers.restore_worker(active.name)

    def switch_model(self, model_id: int, *, wait_for_labels_s: float = LABELS_TIMEOUT_S) -> None:
        """Make a model the one that searches, labels and new images use, once the labels have its vectors too.

        What was indexed meanwhile and has no vector under it yet is queued in the same transaction.

        Args:
            model_id: The model, as `embed_under_model` gave it.
            wait_for_labels_s: Seconds that its workers have to embed the labels, where this process can't.
        """
        with self.database.connection() as connection:
            row = get_model(connection, model_id)
            has_gaps = not row.is_external and bool(list_missing_labels(connection, model_id))
        if has_gaps and has_torch():
            labeling.embed_labels_for_model(
                self.database, load_embedder(row.name, self.settings, known=row.info), model_id
            )
        if not active_model.switch_model(self.database, model_id, wait_for_labels_s=wait_for_labels_s):
            logger.warning(
                "Some labels have no vectors under %r yet: a worker of that model adds them once it runs.", row.name
            )
        if row.is_external:
            return  # there is nothing to embed
        self._workers.send_tickets(model_id, 1)
        try:  # it may serve the model of before
            self._workers.restore_worker(row.name)
        except SiglipError as error:
            logger.warning("The embedded worker doesn't serve the new model yet. %s", error)
