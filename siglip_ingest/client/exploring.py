"""Beyond the best matches: all that are relevant, several labels at once, duplicates, representatives, diversity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from siglip_ingest import search
from siglip_ingest.active_model import embed_query
from siglip_ingest.client.searching import SearchingClient
from siglip_ingest.db import checks, exploring, models, texts
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.results import ImageResults
from siglip_ingest.search import is_address
from siglip_ingest.types import DuplicateGroup, DuplicatePair, ImageMatch, LabelMatch, Representative

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

CONTENTS_PER_STEP = 2_000  # whose neighbours one statement looks up: some seconds


class ExploringClient(SearchingClient):
    """The part of `SiglipClient` that looks at a collection as a whole."""

    def relevant_images(
        self,
        query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float],
        *,
        min_score: float = 0.5,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> ImageResults[ImageMatch]:
        """Find all images whose score for a query reaches `min_score`, however many, best first.

        Args:
            query: As for `search_images`.
            min_score: The least score, in [0, 1].
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.

        Raises:
            InvalidInputError: If an argument can't be used.
            ImageError: If the query is an image that can't be read.
        """
        self._check_model()
        narrow = exploring.narrowing(collection, filter)
        model_id, embedding = self.embed_query(query)
        found = exploring.find_relevant(self.database, embedding, model_id, min_score=min_score, narrow=narrow)
        return self._image_results(found, ImageMatch)

    def diverse_images(
        self,
        query: int | str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float],
        *,
        limit: int = 10,
        max_similarity: float = 0.9,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        min_score: float | None = None,
    ) -> ImageResults[ImageMatch]:
        """Find the best images for a query, best first, of those that are nearly the same only the best.

        Args:
            query: As for `search_images`; or the id of an indexed image, which isn't among the matches itself.
            limit: Most matches to return, 1 to 10,000.
            max_similarity: An image whose similarity to a better match is above this is left out, in [0, 1].
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.
            min_score: Only matches whose score, in [0, 1], is at least this.

        Raises:
            InvalidInputError: If an argument can't be used.
            ImageError: If the query is an image that can't be read.
            NotFoundError: If there is no such image, or it isn't embedded.
        """
        self._check_model()
        options = {
            "limit": checks.check_limit(limit),
            "max_similarity": _check_similarity(max_similarity, "max_similarity", 0),
            "min_score": checks.check_min_score(min_score),
            **exploring.narrowing(collection, filter),
        }
        if checks.is_whole_number(query):
            found = exploring.find_diverse(self.database, checks.check_image_id(query), None, options)
            return self._image_results(found, ImageMatch)
        if isinstance(query, bool | int):
            raise InvalidInputError(f"A query is a text, an image, a vector or the id of an image, not {query!r}.")
        model_id, embedding = self.embed_query(query)
        found = exploring.find_diverse(self.database, embedding, model_id, options)
        return self._image_results(found, ImageMatch)

    def images_with_labels(
        self,
        label_set: str | None,
        *,
        all_of: Sequence[str] = (),
        any_of: Sequence[str] = (),
        none_of: Sequence[str] = (),
        min_score: float | None = None,
        limit: int | None = None,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> ImageResults[LabelMatch]:
        """Find the images that have all of some labels, any of others and none of further ones, best first.

        Args:
            label_set: Name of a label set; None where the labels name theirs: `scenes/sunset`.
            all_of: Labels that an image has, every one.
            any_of: Labels of which it has at least one.
            none_of: Labels of which it has none.
            min_score: An image has a label whose score, in [0, 1], is at least this; None for each label's own rule.
            limit: Most matches to return, 1 to 10,000; None for all.
            collection: Search only this collection.
            filter: Only images whose metadata contain these keys and values.

        Raises:
            InvalidInputError: If an argument can't be used, or no label is named that the images have.
            NotFoundError: If there is no such label set or label, or it has no vector under the active model.
        """
        self._check_model()
        if label_set is not None:
            checks.check_name(label_set, "A label set")
        options = {
            "min_score": checks.check_min_score(min_score),
            "limit": None if limit is None else checks.check_limit(limit),
            **exploring.narrowing(collection, filter),
        }
        labels = {"all_of": all_of, "any_of": any_of, "none_of": none_of}
        checked = {name: _check_labels(value, name) for name, value in labels.items()}
        found = exploring.find_labelled(self.database, label_set, {**checked, **options})
        return self._image_results(found, LabelMatch)

    def near_duplicates(
        self,
        min_similarity: float = 0.95,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> Iterator[DuplicatePair]:
        """Find pairs of images that are nearly the same, or the same, each once.

        The pairs come as they are found, range by range of the images in the order in which they were indexed; a large
        collection takes about a millisecond an image.

        Args:
            min_similarity: Least similarity of a pair, 0.5 to 1.
            collection: Look only at images of this collection.
            filter: Only at images whose metadata contain these keys and values.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        self._check_model()
        least = _check_similarity(min_similarity, "min_similarity", 0.5)
        return self._walk_near_duplicates(least, exploring.narrowing(collection, filter))

    def duplicate_groups(
        self,
        min_similarity: float = 0.95,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
    ) -> list[DuplicateGroup]:
        """Find groups of images that pairs of `near_duplicates` connect, the largest group first.

        Args: as for `near_duplicates`. Of a chain of pairs, the ends may be less alike than `min_similarity`.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        self._check_model()
        least = _check_similarity(min_similarity, "min_similarity", 0.5)
        narrow = exploring.narrowing(collection, filter)
        return exploring.find_duplicate_groups(self.database, min_similarity=least, narrow=narrow)

    def representatives(
        self,
        count: int = 20,
        *,
        collection: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        sample_size: int = 2_000,
        seed: int = 0,
    ) -> ImageResults[Representative]:
        """Choose images that stand for all, the one that stands for the most first.

        Args:
            count: How many, 1 to 200; fewer come back where there are fewer different images.
            collection: Of this collection.
            filter: Of the images whose metadata contain these keys and values.
            sample_size: Images that are looked at, 1 to 20,000; drawn at random where there are more.
            seed: Of the draws: with the same seed the same images come back.

        Raises:
            InvalidInputError: If an argument can't be used.
        """
        self._check_model()
        for value, name, largest in ((count, "count", 200), (sample_size, "sample_size", 20_000)):
            if not checks.is_whole_number(value) or not 1 <= int(value) <= largest:
                raise InvalidInputError(f"{name} must be a whole number from 1 to {largest:,}, not {value!r}.")
        if not checks.is_whole_number(seed) or not -(2**31) <= int(seed) < 2**31:
            raise InvalidInputError(f"seed must be a whole number of 32 bits, not {seed!r}.")
        chosen = exploring.find_representatives(
            self.database,
            count=int(count),
            sample_size=int(sample_size),
            seed=int(seed),
            narrow=exploring.narrowing(collection, filter),
        )
        return self._image_results(chosen, Representative)

    def _walk_near_duplicates(self, min_similarity: float, narrow: Mapping[str, Any]) -> Iterator[DuplicatePair]:
        with self.database.connection() as connection:
            model, _ = models.described_model(connection)
        last = exploring.find_last_content(self.database)
        for start in range(0, last, CONTENTS_PER_STEP):
            yield from exploring.find_near_duplicates(
                self.database,
                model.model_id,
                min_similarity=min_similarity,
                narrow=narrow,
                after_content_id=start,
                up_to_content_id=start + CONTENTS_PER_STEP,
            )

    def embed_query(
        self, query: str | Path | bytes | Image.Image | NDArray[np.number[Any]] | Sequence[float]
    ) -> tuple[int, NDArray[np.float32]]:
        """Embed a query under the active model.

        Args:
            query: As for `search_images`, but of one part.

        Returns:
            The `model_id`, and the (D,) float32 unit vector: what `search_images` takes as a query, too.

        Raises:
            InvalidInputError: If the query is empty, or a vector of another model's length.
            ImageError: If the query is an image that can't be read.
        """
        if isinstance(query, str) and not is_address(query):
            return self._embed_text(query)
        if search.is_vector(query):
            embedding = checks.check_vector(query)
            with self.database.connection() as connection:
                return models.described_model(connection)[0].model_id, embedding
        image = self._open_image(cast("Path | bytes | Image.Image", query))
        model, embedding = embed_query(
            self.database, self._get_embedder, lambda embedder: embedder.embed_images([image])
        )
        return model.model_id, embedding

    def _embed_text(self, query: str) -> tuple[int, NDArray[np.float32]]:
        """Embed a text: the cache has it, or this process embeds it, or else a worker does."""
        checks.check_query(query)
        with self.database.connection() as connection:
            model, info = models.described_model(connection)
            known = texts.find_text(connection, model.model_id, query)
        if known is not None:
            return model.model_id, known
        if self.settings.is_embedded or self._embedder.can_embed:
            embedder = self._get_embedder(model.key)
            if not isinstance(embedder, RemoteEmbedder):
                models.check_same_model(embedder.info, info)
                return model.model_id, embedder.embed_texts([query])[0]
        with self.database.connection() as connection:
            return model.model_id, texts.embed_text(connection, model.model_id, query, self.settings.embed_timeout_s)


def _check_labels(labels: object, name: str) -> list[str]:
    if isinstance(labels, str | bytes) or not isinstance(labels, Sequence):
        raise InvalidInputError(f"{name} is a list of labels, not {labels!r}.")
    for label in labels:
        checks.check_name(label, "A label")
    return list(labels)


def _check_similarity(similarity: object, name: str, least: float) -> float:
    if not isinstance(similarity, Real) or isinstance(similarity, bool) or not least <= float(similarity) <= 1:
        raise InvalidInputError(f"{name} must be a number from {least:g} to 1, not {similarity!r}.")
    return float(similarity)
