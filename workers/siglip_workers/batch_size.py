"""Finds how many images the device takes at a time, and remembers it in the database across restarts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from siglip_ingest.db import Database, models

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder

logger = logging.getLogger(__name__)


class BatchSize:
    """The batch size of one model on this device."""

    def __init__(self, database: Database, embedder: TorchEmbedder, model_id: int) -> None:
        self._database = database
        self._embedder = embedder
        self._model_id = model_id
        self._stored: int | None = None

    def choose(self, most: int) -> None:
        """Set the embedder's batch size: what is remembered, or else what is found now.

        Args:
            most: The setting; 0 for no bound. A number is taken without measuring, unless less is remembered.
        """
        with self._database.connection() as connection:
            self._stored = models.get_batch_size(
                connection, self._model_id, device=self._embedder.device_name, dtype=self._embedder.dtype
            )
        if most:
            self._embedder.batch_size = min(most, self._stored or most)
            self._stored = self._embedder.batch_size  # a bound that somebody sets says nothing about the memory
            return
        self._embedder.batch_size = self._stored or self._embedder.find_batch_size()
        self.keep()
        logger.info("Batches have up to %d images.", self._embedder.batch_size)

    def keep(self) -> None:
        """Store the batch size if it has changed: the embedder halves it when the memory doesn't suffice."""
        size = self._embedder.batch_size
        if size == self._stored:
            return
        with self._database.connection() as connection:
            models.store_batch_size(
                connection, self._model_id, size, device=self._embedder.device_name, dtype=self._embedder.dtype
            )
        self._stored = size
