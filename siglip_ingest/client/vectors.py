"""Vectors in and out: importing what was made elsewhere, and exporting."""

from __future__ import annotations

import sys
from pathlib import Path

from siglip_ingest import active_model
from siglip_ingest.client.base import BaseClient
from siglip_ingest.db import checks
from siglip_ingest.db.models import described_model, find_model
from siglip_ingest.embedders.local import has_torch, load_embedder
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import expand_user, how_to_install
from siglip_ingest.siglip.checkpoint.names import is_checkpoint, model_name
from siglip_ingest.types import DEFAULT_COLLECTION, VectorImport
from siglip_ingest.vectors import exporting, importing


class VectorsClient(BaseClient):
    """The part of `SiglipClient` that reads and writes files of vectors."""

    def import_vectors(
        self,
        vectors: str | Path,
        items: str | Path | None = None,
        *,
        model: str,
        dimension: int | None = None,
        logit_scale: float | None = None,
        logit_bias: float | None = None,
        collection: str = DEFAULT_COLLECTION,
        normalize: bool = False,
        replace: bool = False,
        progress: bool | None = None,
    ) -> VectorImport:
        """Store images with vectors that were made elsewhere, by any model.

        All of the input is checked before anything is stored. What is stored is safe, some thousand rows at a time:
        started again, an import goes on where it was, since images that have a vector under the model are skipped.

        Args:
            vectors: A `.npy` file, N x D float16 or float32; or Parquet with a column `embedding`, a fixed-size list.
            items: A JSON line a vector, in the same order: `uri`, and optionally `collection`, `key`, `metadata`,
                `content_hash` (SHA-256 of the file, in hexadecimal), `width`, `height`, `format`. Not for a Parquet
                file that has these as columns.
            model: Name of the model that made them: one of the database, a checkpoint that can be loaded here, or any
                other name, which then stands for an external model: there are no texts under it, and searches go by
                vector or by an indexed image. It becomes the active model if there is none.
            dimension: What D must be.
            logit_scale: Of a new external model, a logarithm, as in a checkpoint; without it there are no scores.
            logit_bias: Of a new external model; goes with `logit_scale`.
            collection: Of the items that name none.
            normalize: Divide each vector by its norm; else it must be 1.
            replace: Replace the vectors of images that have one, and merge metadata into theirs.
            progress: Whether to draw a progress bar on stderr; by default where that is a terminal.

        Raises:
            InvalidInputError: If anything in the files can't be imported; names the line or the row. Then nothing is
                stored.
            ConfigurationError: If it is Parquet and pyarrow isn't installed.
        """
        options = importing.ImportOptions(
            dimension=dimension,
            logit_scale=logit_scale,
            logit_bias=logit_bias,
            collection=collection,
            normalize=normalize,
            replace=replace,
        )
        checks.check_name(model, "A model")
        is_shown = sys.stderr.isatty() if progress is None else progress
        items = None if items is None else expand_user(items)
        with importing.check_input(expand_user(vectors), items, options, progress=is_shown) as checked:
            name = self._enter_checkpoint(model)
            row = importing.register_model(self.database, name, checked.vectors.dimension, options)
            return importing.import_vectors(self.database, row, checked, options, progress=is_shown)

    def export_vectors(
        self,
        vectors: str | Path,
        items: str | Path | None = None,
        *,
        model: str | None = None,
        collection: str | None = None,
        float32: bool = False,
        progress: bool | None = None,
    ) -> int:
        """Write the images that have a vector, as `import_vectors` reads them, in constant memory.

        Args:
            vectors: A file whose suffix is `.npy`, for an N x D array, or `.parquet`, which holds the items too.
            items: A file for the items, one JSON line a vector; not for Parquet.
            model: Name of the model; by default the active one.
            collection: Only the images of this collection.
            float32: Write float32; else float16, as they are stored.
            progress: Whether to draw a progress bar on stderr; by default where that is a terminal.

        Returns:
            How many vectors were written.

        Raises:
            NotFoundError: If there is no such model, or it has no vectors yet.
            InvalidInputError: If a file can't be written.
        """
        if collection is not None:
            checks.check_name(collection, "A collection")
        with self.database.connection() as connection:
            row, info = described_model(connection, model)
        return exporting.export_vectors(
            self.database,
            row.model_id,
            info.dimension,
            expand_user(vectors),
            items=None if items is None else expand_user(items),
            collection=collection,
            as_float32=float32,
            progress=sys.stderr.isatty() if progress is None else progress,
        )

    def _enter_checkpoint(self, model: str) -> str:
        """The database's name of a model; a checkpoint of the family that it doesn't know is loaded and entered."""
        with self.database.connection() as connection:
            known = find_model(connection, model)
        if known is None and not is_checkpoint(model):
            return model
        if known is None:
            model = model_name(model)
            with self.database.connection() as connection:
                known = find_model(connection, model)
        if known is None or known.info is None:
            if not has_torch():
                raise ConfigurationError(
                    f"{model!r} is a checkpoint that workers load, and none has yet, so that its vectors' length isn't "
                    f"known. Start one first (`siglip-ingest worker`), or {how_to_install('model')}; or import under "
                    "another name."
                )
            active_model.enter_model(self.database, load_embedder(model, self.settings).info)
        return model
