"""Vectors of several texts or images, and whether queries can be embedded now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siglip_ingest import search
from siglip_ingest.client.searching import SearchingClient
from siglip_ingest.db import checks, models, workers
from siglip_ingest.db.schema import check_schema
from siglip_ingest.errors import SchemaVersionError, SiglipError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


class EmbeddedQueries(NamedTuple):
    """Vectors of one model.

    Attributes:
        model: Its name.
        vectors: (N, D) float32 unit vectors, in the order of what was given.
        tokens: Tokens that the model read, padding left out; 0 for images, and where a worker has the tokenizer.
    """

    model: str
    vectors: NDArray[np.float32]
    tokens: int


class EmbeddingClient(SearchingClient):
    """The part of `SiglipClient` that gives vectors."""

    def embed_texts(self, texts: Sequence[str]) -> EmbeddedQueries:
        """Embed texts under the active model; nothing is kept of them in the database.

        Args:
            texts: What images show, in words, each as it would be searched for.

        Raises:
            InvalidInputError: If one is empty, or the model can't read it.
            NotFoundError: If no model is active yet.
            WorkerUnavailableError: If a worker was to embed them, and none did.
        """
        for text in texts:
            checks.check_query(text)
        self._check_model()
        with self.database.connection() as connection:
            model = models.described_model(connection)[0]
        embedder = self._get_embedder(model.key)
        vectors, _ = search.embed_texts(embedder, model.key, texts)
        count_tokens = getattr(embedder, "count_tokens", None)
        tokens = 0 if count_tokens is None else sum(count_tokens(texts))
        return EmbeddedQueries(model.name, vectors, tokens)

    def embed_images(self, images: Sequence[str | Path | bytes | Image.Image]) -> EmbeddedQueries:
        """Embed images under the active model; nothing is kept of them in the database.

        Args:
            images: Each as for `search_images`: an http(s) address, a Path, the bytes of a file, or a PIL image.

        Raises:
            ImageError: If one can't be read.
            NotFoundError: If no model is active yet.
            WorkerUnavailableError: If a worker was to embed them, and none did.
        """
        opened = [self._open_image(image) for image in images]
        self._check_model()
        with self.database.connection() as connection:
            model, info = models.described_model(connection)
        embedder = self._get_embedder(model.key)
        models.check_same_model(embedder.info, info)
        return EmbeddedQueries(model.name, embedder.embed_images(opened), 0)

    def check_readiness(self) -> dict[str, str | None]:
        """Say what is ready for searches: `database`, `schema`, `model`, `embedding`; starts and loads nothing.

        Returns:
            None for what is ready, else a sentence that says why not.
        """
        found: dict[str, str | None] = dict.fromkeys(("database", "schema", "model", "embedding"), "Not known yet.")
        with self._lock:
            is_open = self._database is not None
        if not is_open and self.settings.is_embedded:
            return found | {"database": "The embedded services don't run yet: the first query starts them."}
        step = "database"
        try:
            check_schema(self.database)
            found |= {"database": None, "schema": None}
            step = "model"
            with self.database.connection() as connection:
                row = models.described_model(connection)[0]
                found[step], step = None, "embedding"
                models.check_loadable(row, "a query")
                has_worker = workers.count_workers(connection, row.model_id) > 0
        except SchemaVersionError as error:
            return found | {"database": None, "schema": str(error)}
        except SiglipError as error:
            return found | {step: str(error)}
        can_embed = self._embedder.can_embed or has_worker
        found[step] = None if can_embed else f"No worker of the model {row.name!r} is alive: `siglip-ingest worker`."
        return found

    def count_batches(self) -> dict[str, Counter[int]]:
        """How many batches had so many rows, by kind (`texts`, `images`) and rows, of what this process embedded."""
        return self._embedder.counts.copy()
