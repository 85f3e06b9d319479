"""Searching, scoring labels, and measuring what searches find."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from siglip_ingest import composing, search
from siglip_ingest.client.base import BaseClient
from siglip_ingest.db import recall, segments
from siglip_ingest.db.models import ModelKey, describe_model
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.embedders.local import has_torch
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.process import expand_user
from siglip_ingest.sources import SourcePolicy, fetch
from siglip_ingest.types import Embedder, ImageMatch, RecallMeasurement, TuningStep

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

logger = logging.getLogger(__name__)

_LONGEST_NAME = 1024  # bytes, and more than any file's; longer texts are words


def describe_file(text: str) -> str:
    """Say how to name a file, where there is a file of that name; else an empty string."""
    try:
        is_file = len(text) < _LONGEST_NAME and expand_user(text).is_file()
    except (OSError, ValueError):  # what no file can be called
        is_file = False
    return f"There is a file of that name: Path({text!r}) stands for it." if is_file else ""


class SearchingClient(BaseClient):
    """The part of `SiglipClient` that asks."""

    def search_images(
        self,
        query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | composing.Query,
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
                list, of any length, that isn't zero. A str is never a file. Or a list of several parts:
                `["beach", -text("people"), image(42) * 0.7]`.
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
        if composing.is_composed(query):
            terms = composing.read_terms(query)
            words = composing.as_text(terms)
            return self._search_by_terms(terms, options) if words is None else self._search_by_text(words, options)
        if search.is_vector(query):
            return search.search_by_embedding(self.database, query, options)
        if isinstance(query, str) and not search.is_address(query):
            if hint := describe_file(query):
                logger.warning("%r is searched for as words. %s", query, hint)
            return self._search_by_text(query, options)
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

    def create_index(self, kind: str) -> str:
        """Choose the kind of the indexes of the active model's vectors; a worker, or `maintain`, builds them.

        Searches go on meanwhile, segment by segment with the index that is there.

        Args:
            kind: `halfvec`, the default, or `bit_rerank`, which takes about a fifth of the memory and finds less, for
                tables that don't fit it.

        Returns:
            What is left to build, a sentence.

        Raises:
            InvalidInputError: If there is no such kind.
        """
        self._check_model()
        with self.database.connection() as connection:
            return segments.choose_index_kind(connection, kind)

    def _search_by_text(self, words: str, options: SearchOptions) -> list[ImageMatch]:
        return search.search_by_text(
            self.database,
            self._choose_text_embedder(),
            words,
            options,
            timeout_s=self.settings.embed_timeout_s,
            max_cached_texts=self.settings.max_cached_texts,
        )

    def _search_by_terms(self, terms: Sequence[composing.QueryTerm], options: SearchOptions) -> list[ImageMatch]:
        return composing.search_composed(
            self.database,
            terms,
            options,
            make_text_embedder=self._choose_text_embedder(),
            make_embedder=self._get_embedder,
            open_image=self._open_image,
            timeout_s=self.settings.embed_timeout_s,
            max_cached_texts=self.settings.max_cached_texts,
        )

    def _choose_text_embedder(self) -> Callable[[ModelKey], Embedder | None] | None:
        """What gives the embedder of new texts; None where the database asks a worker."""
        return self._get_text_embedder if self.settings.is_embedded or self._embedder.can_embed else None

    def _get_text_embedder(self, model: ModelKey) -> Embedder | None:
        """The embedder of a new text; None where it is left to a worker, which the database asks."""
        embedder = self._get_embedder(model)
        return None if isinstance(embedder, RemoteEmbedder) else embedder

    def _describe_model(self) -> None:
        """Fill in the active model's row where no worker has loaded it yet, but this process can."""
        row = self.model
        if row.info is None and has_torch():
            info = self._get_embedder(row.key).info
            with self.database.connection() as connection:
                describe_model(connection, row.model_id, info)

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
