"""The public API: `SiglipClient`, and the same methods as functions of one default client."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import inspect
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

from siglip_ingest import active_model, ingest, labeling, process, search
from siglip_ingest.db import Database, checks, items, recall
from siglip_ingest.db.labels import list_missing_labels
from siglip_ingest.db.models import ModelKey, describe_model, described_model, find_model, get_model
from siglip_ingest.db.schema import check_schema
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.embedders.choose import QueryEmbedder
from siglip_ingest.embedders.local import check_checkpoint, has_torch, load_embedder
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.errors import ConfigurationError, InvalidInputError, SiglipError
from siglip_ingest.process import expand_user, how_to_install
from siglip_ingest.services.worker_client import Workers
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.checkpoint.names import is_checkpoint, model_name
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE
from siglip_ingest.sources import SourcePolicy, fetch
from siglip_ingest.types import (
    DEFAULT_COLLECTION,
    Embedder,
    ImageMatch,
    LabelScore,
    RecallMeasurement,
    TuningStep,
    VectorImport,
)
from siglip_ingest.vectors import exporting, importing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from siglip_ingest.db.models import ModelRow
    from siglip_ingest.ingest import Source

logger = logging.getLogger(__name__)

LABELS_TIMEOUT_S = 60.0
_LONGEST_NAME = 1024  # bytes, and more than any file's; longer texts are words


def _is_address(text: str) -> bool:
    """Whether a text is the http(s) address of an image, and not words."""
    return is_web_address(text.strip()) and len(text.split()) == 1


def _describe_file(text: str) -> str:
    """Say how to name a file, where there is a file of that name; else an empty string."""
    try:
        is_file = len(text) < _LONGEST_NAME and expand_user(text).is_file()
    except (OSError, ValueError):  # what no file can be called
        is_file = False
    return f"There is a file of that name: Path({text!r}) stands for it." if is_file else ""


class SiglipClient:
    """Indexes and searches images in one database. Thread-safe; closes as a context manager.

    Nothing is opened before it is needed. Without `database_url` the embedded PostgreSQL, Redis and worker are used,
    and stopped by `close` unless `siglip-ingest up` keeps them.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        broker_url: str | None = None,
        model: str | None = None,
        home: str | Path | None = None,
        embedder: Embedder | None = None,
        settings: Settings | None = None,
    ) -> None:
        """Make a client. Reads no environment variables: `from_environment` does.

        Args:
            database_url: PostgreSQL URL; None for the embedded services.
            broker_url: Redis URL of the Celery workers; only needed where this process can't embed queries itself.
            model: Name of a checkpoint: `demo`, a folder, or a hub name. Must be the database's active model, if it has
                one, when the client first uses it; after that the client follows a change of the active model.
            home: Folder of the embedded services' data.
            embedder: Embeds the queries; by default the embedded worker where it runs, else torch in this process where
                it is installed, else a worker behind `broker_url`.
            settings: All settings at once, instead of the four above.
        """
        if settings is None:
            settings = Settings(database_url=database_url, broker_url=broker_url, model=model)
            settings = settings if home is None else dataclasses.replace(settings, home=Path(home))
        elif any(value is not None for value in (database_url, broker_url, model, home)):
            raise InvalidInputError("Give SiglipClient either `settings` or single values, not both.")
        self.settings = settings
        self._embedder = QueryEmbedder(settings, embedder)
        self._workers = self._make_workers({})
        self._database: Database | None = None
        self._is_model_checked = False
        self._lock = threading.RLock()
        process.register_for_forks(self)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> SiglipClient:
        """Make a client from `SIGLIP_*` variables; see `Settings`."""
        client = cls(settings=Settings.from_environment(environment))
        # What huggingface_hub reads, HF_TOKEN for instance, counts for the embedded worker as it does here.
        hub = {name: value for name, value in environment.items() if name.startswith("HF_")}
        client._workers = client._make_workers(hub)
        return client

    def __enter__(self) -> SiglipClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and leave the embedded services. The client can be used again afterwards."""
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None
            self._workers.close()
            self._embedder.close()

    def forget_inherited(self) -> None:
        """In a process that was forked off: leave what the parent has opened to the parent.

        The lease on the embedded services is taken again. A model that was loaded stays loaded; it computes in one
        thread here.
        """
        self._lock = threading.RLock()
        if self._workers.has_services:
            self._database = None
        self._workers.forget_inherited()
        self._embedder.forget_inherited()

    @property
    def database(self) -> Database:
        """The database, with its schema checked; starts the embedded services if no other database is set."""
        with self._lock:
            if self._database is None:
                settings, services = self.settings, self._workers.start_services()
                url = settings.database_url if services is None else services.database_url
                assert url is not None  # noqa: S101  # one of the two has it
                database = Database(url, direct_url=settings.direct_database_url, pooler=settings.pooler)
                try:
                    check_schema(database)
                except BaseException:
                    database.close()
                    raise
                self._database = database
            return self._database

    @property
    def model(self) -> ModelRow:
        """The database's active model; where there is none yet, the one that the settings name becomes it.

        Raises:
            ConfigurationError: At first use, if the settings name another model than the active one.
        """
        settings = self.settings
        requested = (None, None) if self._is_model_checked else (settings.model, settings.max_num_patches)
        row = active_model.check_model(self.database, *requested) or active_model.choose_model(
            self.database, settings.model
        )
        self._is_model_checked = True
        return row

    def enqueue_images(
        self,
        sources: Source | Iterable[Source],
        *,
        collection: str = DEFAULT_COLLECTION,
        metadata: Mapping[str, Any] | None = None,
    ) -> ingest.Ingestion:
        """Queue images for indexing. They are safe in the database when this returns; workers embed them.

        An image that is already in the collection under the same URI is embedded again only if its file has changed or
        it had failed; new metadata are merged into the old ones.

        Args:
            sources: One source or a sequence of them: a path, a folder (searched for images, subfolders too), an
                http(s) URL, the bytes of an image file, a PIL image, or an `ImageSource` with a key and metadata of its
                own.
            collection: Name of the set of images that they join.
            metadata: Kept with each image, and what searches can filter by; must be JSON.

        Raises:
            InvalidInputError: If a file doesn't exist or a folder holds no images. Then nothing is queued.
        """
        active_model.choose_model(self.database, self.settings.model, self.settings.max_num_patches)
        ingestion = ingest.enqueue_images(
            self.database, sources, collection=collection, metadata=metadata, check_worker=self._check_worker
        )
        self._workers.send_tickets(ingestion.model_id, len(ingestion.image_ids))
        return self._with_worker(ingestion)

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

    def give_up_model(self, model_id: int) -> None:
        """Take back an `embed_under_model` that failed; the embedded worker serves the active model again.

        A model that got some vectors stays beside the active one, and `embed_under_model` goes on with it.
        """
        with contextlib.suppress(SiglipError):  # what failed before is what there is to say
            active = active_model.give_up_model(self.database, model_id)
            if active is not None:
                self._workers.restore_worker(active.name)

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
        return self._follow_model(model_id, collection)

    def follow_model(self, model_id: int) -> ingest.Ingestion:
        """Queue what has come since `embed_under_model`, and follow all images of the model once more."""
        self._workers.send_tickets(model_id, active_model.queue_missing(self.database, model_id))
        return self._follow_model(model_id)

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

    def search_images(
        self,
        query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float],
        *,
        limit: int = 10,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  # the word that users of vector databases look for
        min_score: float | None = None,
        image_ids: Iterable[int] | None = None,
        offset: int = 0,
        after: ImageMatch | tuple[float, int] | None = None,
    ) -> list[ImageMatch]:
        """Find the images that fit a text, resemble an image or are nearest to a vector, best first.

        Args:
            query: What the images show, in words, or the http(s) address of an image (str); or an image: a Path, the
                bytes of an image file, or a PIL image; or a vector of the active model: (D,) numbers, an array or a
                list, of any length, that isn't zero. A str is never a file.
            limit: Most matches to return, 1 to 10,000.
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.
            min_score: Only matches whose score, in [0, 1], is at least this.
            image_ids: Search only these images.
            offset: Leave out so many of the best.
            after: Begin behind this match, or its (similarity, image_id): the next page, whatever arrives meanwhile.

        Raises:
            InvalidInputError: If the query is empty, is a vector of another model's length, or `limit` is out of range.
            ImageError: If the query is an image that can't be read.
        """
        self._check_model()
        options = SearchOptions(
            limit=limit,
            collection=collection,
            filter=filter,
            min_score=min_score,
            image_ids=image_ids,
            offset=offset,
            after=after,
        )
        if search.is_vector(query):
            return search.search_by_embedding(self.database, query, options)
        if isinstance(query, str) and not _is_address(query):
            if hint := _describe_file(query):
                logger.warning("%r is searched for as words. %s", query, hint)
            return search.search_by_text(
                self.database,
                self._get_text_embedder if self.settings.is_embedded or self._embedder.can_embed else None,
                query,
                options,
                timeout_s=self.settings.embed_timeout_s,
                max_cached_texts=self.settings.max_cached_texts,
            )
        image = self._open_image(cast("Path | bytes | Image.Image", query))
        return search.search_by_image(self.database, self._get_embedder, image, options)

    def similar_images(
        self,
        image_id: int,
        *,
        limit: int = 10,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        min_score: float | None = None,
        image_ids: Iterable[int] | None = None,
        offset: int = 0,
        after: ImageMatch | tuple[float, int] | None = None,
    ) -> list[ImageMatch]:
        """Find the images most like an indexed one, best first, without that one.

        Args:
            image_id: Key in `siglip.images`, as `ImageMatch.image_id` gives it.
            limit: Most matches to return, 1 to 10,000.
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.
            min_score: Only matches whose score, in [0, 1], is at least this.
            image_ids: Search only these images.
            offset: Leave out so many of the best.
            after: Begin behind this match, or its (similarity, image_id): the next page, whatever arrives meanwhile.

        Raises:
            InvalidInputError: If an argument is out of its range.
            NotFoundError: If there is no such image, or it isn't embedded yet.
        """
        self._check_model()
        options = SearchOptions(
            limit=limit,
            collection=collection,
            filter=filter,
            min_score=min_score,
            image_ids=image_ids,
            offset=offset,
            after=after,
        )
        return search.similar_images(self.database, image_id, options)

    def create_label_set(
        self,
        name: str,
        labels: Sequence[str] | Mapping[str, Sequence[str]],
        *,
        template: str = DEFAULT_TEMPLATE,
        replace: bool = False,
    ) -> None:
        """Store a label set, so that every image has a score for each of them in `siglip.label_scores`.

        Args:
            name: What the label set is called.
            labels: The labels; or a mapping from each label to prompts of its own, used as they are.
            template: Makes the prompt of a label that has none of its own; contains `{label}`.
            replace: Replace the label set of that name, if there is one.

        Raises:
            AlreadyExistsError: If there is a label set of that name and `replace` is False.
        """
        self._describe_model()
        labeling.create_label_set(self.database, self._get_embedder, name, labels, template=template, replace=replace)

    def label_scores(self, image: int | str | Path | bytes | Image.Image, label_set: str) -> list[LabelScore]:
        """Score one image against each label of a set, best first. The scores are independent and don't sum to 1.

        Args:
            image: The id of an indexed image, a Path, the http(s) address of an image (str), the bytes of an image
                file, or a PIL image.
            label_set: Name of a label set.

        Raises:
            InvalidInputError: If `image` is a text that isn't an address: the path of a file is a Path.
            ImageError: If the image can't be read.
            NotFoundError: If there is no such image or label set, or it has no vectors under the active model.
        """
        self._check_model()
        if isinstance(image, Integral):  # numpy's too
            image = checks.check_image_id(image)
        if isinstance(image, int):
            return labeling.label_scores_of_image_id(self.database, image, label_set)
        if isinstance(image, str) and not _is_address(image):
            raise InvalidInputError(
                f"{image!r} is a text, and an image is scored: give a Path, an http(s) address, bytes, a PIL image, or "
                f"the id of an indexed image. {_describe_file(image)}".strip()
            )
        opened = self._open_image(image)
        return labeling.label_scores_of_image(self.database, self._get_embedder, opened, label_set)

    def index_recall(
        self,
        sample: int = 200,
        *,
        limit: int = 10,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> list[RecallMeasurement]:
        """Measure how many of the images that an exact search finds a search finds, too.

        What was measured is kept in `siglip.recall_history`; a drop is logged as a warning.

        Args:
            sample: Images to search by, drawn at random, and as many texts of those that were searched for.
            limit: Best images that each search is to find, 1 to 1,000.
            collection: Measure searches of this collection.
            filter: Measure searches for images whose metadata contain these keys and values.

        Returns:
            One for `images`, and one for `texts` where some were searched for.

        Raises:
            InvalidInputError: If an argument is out of its range.
            NotFoundError: If there is nothing to measure with.
        """
        self._check_model()
        with self.database.connection() as connection:
            return recall.measure_recall(connection, sample=sample, limit=limit, collection=collection, filter=filter)

    def tune_search(self, target_recall: float = 0.98, *, sample: int = 200) -> list[TuningStep]:
        """Find the smallest `ef_search` with which searches reach a recall, and keep it for all of them.

        Args:
            target_recall: Share of the ten best images that searches are to find, 0.5 to 1. Where it can't be reached,
                the largest `ef_search` is kept, which is logged as a warning.
            sample: As for `index_recall`.

        Returns:
            What was tried, in growing order; the last is chosen. Empty where there is no index yet.
        """
        self._check_model()
        with self.database.connection() as connection:
            return recall.tune_search(connection, target_recall=target_recall, sample=sample)

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

    def _make_workers(self, environment: Mapping[str, str]) -> Workers:
        settings = self.settings
        return Workers(
            settings, is_embedded=settings.is_embedded, broker_url=settings.broker_url, environment=environment
        )

    def _get_embedder(self, model: ModelKey) -> Embedder:
        return self._embedder.get(model, self.database, self._workers.start_services)

    def _get_text_embedder(self, model: ModelKey) -> Embedder | None:
        """The embedder of a new text; None where it is left to a worker, which the database asks."""
        embedder = self._get_embedder(model)
        return None if isinstance(embedder, RemoteEmbedder) else embedder

    def _check_model(self) -> None:
        """Raise at first use if the settings name another model than the database's active one."""
        if not self._is_model_checked:
            settings = self.settings
            row = active_model.check_model(self.database, settings.model, settings.max_num_patches)
            self._is_model_checked = row is not None

    def _describe_model(self) -> None:
        """Fill in the active model's row where no worker has loaded it yet, but this process can."""
        row = self.model
        if row.info is None and has_torch():
            info = self._get_embedder(row.key).info
            with self.database.connection() as connection:
                describe_model(connection, row.model_id, info)

    def _follow_model(self, model_id: int, collection: str | None = None) -> ingest.Ingestion:
        """All images that are to be embedded, are embedded, or have failed under a model, as one ingestion."""
        with self.database.connection() as connection:
            image_ids = items.list_image_ids(connection, model_id, collection)
        return self._with_worker(ingest.Ingestion(self.database, image_ids, model_id, check_worker=self._check_worker))

    def _with_worker(self, ingestion: ingest.Ingestion) -> ingest.Ingestion:
        """Start the embedded worker where there is work for it."""
        if self.settings.is_embedded and not ingestion.counts().is_finished:
            self._workers.ensure_worker(self.database, ingestion.model_id)
        return ingestion

    def _check_worker(self, model_id: int) -> None:
        self._workers.check_worker(self.database, model_id)

    def _open_image(self, query: str | Path | bytes | Image.Image) -> Image.Image:
        """Open the image that a Path, an address, bytes or a PIL image stands for."""
        from siglip_ingest.siglip.preprocess.opening import open_image

        settings = self.settings
        if isinstance(query, str):
            query = fetch(
                query.strip(),
                max_image_bytes=settings.max_image_bytes,
                timeout_s=settings.fetch_timeout_s,
                policy=SourcePolicy.for_user(settings),
            )
        return open_image(query, settings.image_limits)


_default_client: SiglipClient | None = None
_default_client_lock = threading.Lock()


def default_client() -> SiglipClient:
    """The client of the module-level functions, made from the environment at first use and closed at exit."""
    global _default_client  # noqa: PLW0603  # the one process-wide value: the module-level functions are its reason
    with _default_client_lock:
        if _default_client is None:
            _default_client = SiglipClient.from_environment(os.environ)
            atexit.register(_default_client.close)
        return _default_client


def _forget_inherited_lock() -> None:
    """In a forked child: a lock that another thread of the parent held would never be released here."""
    global _default_client_lock  # noqa: PLW0603
    _default_client_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited_lock)

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _of_default_client(
    method: Callable[Concatenate[SiglipClient, _Parameters], _Result],
) -> Callable[_Parameters, _Result]:
    """Make a function of the default client's method, with the same parameters and docstring."""

    @functools.wraps(method)
    def function(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> _Result:
        return method(default_client(), *arguments, **options)

    signature = inspect.signature(method)
    parameters = [value for name, value in signature.parameters.items() if name != "self"]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # help() reads it
    function.__qualname__ = method.__name__
    return function


enqueue_images = _of_default_client(SiglipClient.enqueue_images)
search_images = _of_default_client(SiglipClient.search_images)
similar_images = _of_default_client(SiglipClient.similar_images)
create_label_set = _of_default_client(SiglipClient.create_label_set)
label_scores = _of_default_client(SiglipClient.label_scores)
index_recall = _of_default_client(SiglipClient.index_recall)
tune_search = _of_default_client(SiglipClient.tune_search)
import_vectors = _of_default_client(SiglipClient.import_vectors)
export_vectors = _of_default_client(SiglipClient.export_vectors)
