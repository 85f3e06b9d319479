"""Queries of several parts: `["beach", -text("people"), image(42) * 0.7]`.

`text`, `image` and `vector` make a part; a minus says that it isn't wanted, a number is its weight. docs/composing.md
defines the score that comes of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard, cast

from siglip_ingest.active_model import MODEL_CHANGES, EmbedderFactory
from siglip_ingest.db import Database, composing as queries, texts
from siglip_ingest.db.checks import check_image_id, check_query, check_vector
from siglip_ingest.db.composing import QueryPart
from siglip_ingest.db.models import ModelKey, check_same_revision
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import DatabaseConflictError, InvalidInputError
from siglip_ingest.search import embed_texts, is_address
from siglip_ingest.types import Embedder, ImageMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

MIN_WEIGHT, MAX_WEIGHT = 0.01, 100.0


@dataclass(frozen=True, slots=True, eq=False)
class QueryTerm:
    """A part of a query; `-term` isn't wanted, `term * 0.7` weighs less. Made by `text`, `image` and `vector`.

    Attributes:
        kind: `text`, `image_id`, `image` or `vector`.
        value: The text, the id, what is opened as an image, or the (D,) unit vector.
        weight: 0.01 to 100; below 0 where it isn't wanted.
    """

    kind: str
    value: Any
    weight: float = 1.0

    def __post_init__(self) -> None:
        is_number = isinstance(self.weight, Real) and not isinstance(self.weight, bool)
        if not is_number or not MIN_WEIGHT <= abs(self.weight) <= MAX_WEIGHT:
            raise InvalidInputError(
                f"The weight of a part of a query must be a number from {MIN_WEIGHT} to {MAX_WEIGHT:g}, or its "
                f"negative for what isn't wanted, not {self.weight!r}."
            )
        object.__setattr__(self, "weight", float(self.weight))

    def __neg__(self) -> QueryTerm:
        return replace(self, weight=-self.weight)

    def __mul__(self, factor: float) -> QueryTerm:
        if not isinstance(factor, Real):
            return NotImplemented
        return replace(self, weight=self.weight * float(factor))

    __rmul__ = __mul__


# Numbers alone are a vector, which isn't composed: one Sequence for both, so that type checkers read a list as either.
Query: TypeAlias = "QueryTerm | Sequence[float | QueryTerm | str | Path | bytes | Image.Image]"


def text(words: str, weight: float = 1.0) -> QueryTerm:
    """A part of a query: what the images show, in words.

    Args:
        words: The text; never a file or an address.
        weight: How much it counts beside the other parts, 0.01 to 100; negative where it isn't wanted.

    Raises:
        InvalidInputError: If the text is empty, or the weight is out of its range.
    """
    check_query(words)
    return QueryTerm("text", words, weight)


def image(source: int | str | Path | bytes | Image.Image, weight: float = 1.0) -> QueryTerm:
    """A part of a query: an image that the results resemble.

    Args:
        source: The id of an indexed image, which isn't among the results then; a Path, the http(s) address of an image
            (str), the bytes of an image file, or a PIL image.
        weight: How much it counts beside the other parts, 0.01 to 100; negative where it isn't wanted.

    Raises:
        InvalidInputError: If it is nothing of that, or the weight is out of its range.
    """
    if isinstance(source, Integral):  # numpy's too; True is refused there
        return QueryTerm("image_id", check_image_id(source), weight)
    if not isinstance(source, str | Path | bytes) and not hasattr(source, "getexif"):
        raise InvalidInputError(
            f"image() takes the id of an indexed image, a Path, an http(s) address, bytes or a PIL image, not "
            f"{type(source).__name__}."
        )
    if isinstance(source, str) and not is_address(source):
        raise InvalidInputError(f"{source!r} is neither a Path nor an http(s) address: image(Path(...)) opens a file.")
    return QueryTerm("image", source, weight)


def vector(numbers: NDArray[np.number[Any]] | Sequence[float], weight: float = 1.0) -> QueryTerm:
    """A part of a query: the vector of an image under the active model.

    Args:
        numbers: (D,), of any length but 0.
        weight: How much it counts beside the other parts, 0.01 to 100; negative where it isn't wanted.

    Raises:
        InvalidInputError: If it isn't one row of finite numbers, is zero, or the weight is out of its range.
    """
    return QueryTerm("vector", check_vector(numbers), weight)


def is_composed(query: object) -> TypeGuard[Query]:
    """Whether a query has parts: a term, or a list or tuple with something in it that is a part and no number."""
    if isinstance(query, list | tuple):
        return any(isinstance(part, QueryTerm | str | Path | bytes) or hasattr(part, "getexif") for part in query)
    return isinstance(query, QueryTerm)


def read_terms(query: Query) -> list[QueryTerm]:
    """Make a term of each part; a str is words, or the http(s) address of an image, as in a query of one part.

    Raises:
        InvalidInputError: If something is no part of a query, or nothing is wanted.
    """
    terms = [query] if isinstance(query, QueryTerm) else [_read_term(part) for part in query]
    if all(term.weight < 0 for term in terms):
        raise InvalidInputError(
            'The query only says what isn\'t wanted. Say what is, too: search_images(["beach", -text("people")]).'
        )
    return terms


def as_text(terms: Sequence[QueryTerm]) -> str | None:
    """The words of a query that is one text of weight 1, which has the text's own scores; None for any other query."""
    is_text = len(terms) == 1 and terms[0].kind == "text" and terms[0].weight == 1
    return terms[0].value if is_text else None


def search_composed(
    database: Database,
    terms: Sequence[QueryTerm],
    options: SearchOptions,
    *,
    make_text_embedder: Callable[[ModelKey], Embedder | None] | None,
    make_embedder: EmbedderFactory,
    open_image: Callable[[Any], Image.Image],
    timeout_s: float = 10.0,
    max_cached_texts: int | None = None,
) -> list[ImageMatch]:
    """Find the images that fit several parts best, best first, without the indexed ones that stand in the query.

    One round trip to learn which texts have no vector yet, one call that embeds them all, and one round trip that
    searches, after one that stores them where there are some.

    Args:
        database: Where the images are.
        terms: The parts.
        options: What narrows the search.
        make_text_embedder: As for `search.search_by_text`.
        make_embedder: Gives an embedder of a model for images.
        open_image: Opens what `image` was given.
        timeout_s: Seconds that a worker has for each text.
        max_cached_texts: Texts that the database keeps for a model; by default as many as it is set to.

    Raises:
        InvalidInputError: If the model can't read a text, or a vector has not its length.
        ImageError: If an image can't be read.
        NotFoundError: If there is no such image, or it isn't embedded, or no model is active yet.
        WorkerUnavailableError: If a worker was to embed something, and none did.
    """
    images = [open_image(term.value) for term in terms if term.kind == "image"]
    words = [term.value for term in terms if term.kind == "text"]
    if not images and (make_text_embedder is None or not words):
        return queries.find_composed(database, _parts(terms), options, timeout_s=timeout_s)
    for _ in range(MODEL_CHANGES):
        missing = queries.find_missing_texts(database, words)
        model, known = missing.model, dict[str, Any]()
        embedder = make_text_embedder(model) if make_text_embedder is not None and missing.queries else None
        try:
            if embedder is not None:
                originals = list({texts.cut_text(query): query for query in words}.values())
                new = [query for query in originals if texts.cut_text(query) in set(missing.queries)]
                embeddings, warnings = embed_texts(embedder, model, new)
                known = dict(zip(map(texts.cut_text, new), embeddings, strict=True))
                if missing.can_write:
                    answers = [
                        texts.EmbeddedText(query, embedding, warning)
                        for (query, embedding), warning in zip(known.items(), warnings, strict=True)
                    ]
                    with database.connection() as connection:
                        texts.store_texts(connection, model.model_id, embedder.info, answers, max_rows=max_cached_texts)
            parts = _parts(terms, known, _embed_images(make_embedder, model, images))
            return queries.find_composed(database, parts, options, timeout_s=timeout_s, model_id=model.model_id)
        except DatabaseConflictError:  # the model was taken out meanwhile: search under the one that is active now
            continue
    raise DatabaseConflictError("The active model was changed again and again while the search ran. Try again.")


def _embed_images(
    make_embedder: EmbedderFactory, model: ModelKey, images: Sequence[Image.Image]
) -> Sequence[NDArray[np.float32]]:
    if not images:
        return ()
    embedder = make_embedder(model)
    check_same_revision(embedder.info, model)
    return list(embedder.embed_images(images))


def _parts(
    terms: Sequence[QueryTerm], known: dict[str, Any] | None = None, images: Sequence[NDArray[np.float32]] = ()
) -> list[QueryPart]:
    """What the database takes, with the vectors of new texts by `cut_text`, and of images in their order."""
    opened = iter(images)
    parts = []
    for term in terms:
        if term.kind == "text":
            embedding = (known or {}).get(texts.cut_text(term.value))
            parts.append(QueryPart(weight=term.weight, query=term.value, embedding=embedding))
        elif term.kind == "image_id":
            parts.append(QueryPart(weight=term.weight, image_id=term.value))
        else:
            embedding = term.value if term.kind == "vector" else next(opened)
            parts.append(QueryPart(weight=term.weight, embedding=embedding))
    return parts


def _read_term(part: object) -> QueryTerm:
    if isinstance(part, QueryTerm):
        return part
    if isinstance(part, str):
        return image(part) if is_address(part) else text(part)
    if isinstance(part, Path | bytes) or hasattr(part, "getexif"):
        return image(cast("Path", part))
    raise InvalidInputError(
        f"A part of a query is a text, a Path, bytes, a PIL image, image(42) or vector([...]), not {part!r}."
    )
