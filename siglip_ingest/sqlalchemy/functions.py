"""The functions of the schema `siglip` that give rows, as what SQLAlchemy selects from and joins.

Python's names of arguments are those of `SiglipClient`; each is a value, which is bound, or an expression, such as a
column of your own. What is None is left to the function in the database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Double, SQLColumnExpression, TableValuedAlias, Text, column
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.functions import Function

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.sqlalchemy.arguments import (
    Argument,
    Filter,
    Ids,
    Position,
    Vector,
    call,
    filter_argument,
    function,
    ids_argument,
    position_argument,
    query_argument,
)


def search_images(
    query: str | Vector | SQLColumnExpression[Any],
    *,
    limit: Argument[int] = 10,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002  # as in SiglipClient
    min_score: Argument[float] | None = None,
    image_ids: Ids | None = None,
    offset: Argument[int] | None = None,
    after: Position | None = None,
    model_id: Argument[int] | None = None,
    timeout_s: Argument[float] | None = None,
) -> TableValuedAlias:
    """The images that fit a text or are nearest to a vector, best first.

        match = search_images("red shoes", limit=5).alias("match")
        select(Product, match.c.score).join(match, match.c.image_id == Product.image_id).order_by(match.c.score.desc())

    A text that was never asked before is embedded by a worker while the statement waits.

    Args:
        query: What the images show, in words; or a vector of the model, (D,) numbers of any length but 0; or an
            expression for either.
        limit: Most matches, 1 to 10,000.
        collection: Search only this collection.
        filter: Only images whose metadata contain these keys and values.
        min_score: Only matches whose score, in [0, 1], is at least this.
        image_ids: Search only these images: their ids, or a SELECT of them, which stands by itself.
        offset: Leave out so many of the best.
        after: Begin behind this match, or its (similarity, image_id): the next page, whatever arrives meanwhile.
        model_id: Search under this model, and not under the active one.
        timeout_s: Seconds to wait for a worker; for a text only.

    Returns:
        Rows with the columns `image_id`, `uri`, `similarity`, `score` and `metadata`. Order them by
        `similarity.desc()` and `image_id`: a join keeps no order.

    Raises:
        InvalidInputError: If the query is neither a text nor a vector nor an expression, `after` is no place, or
            `timeout_s` is given with a vector, which nobody waits for.
    """
    first, by_name = query_argument(query)
    if timeout_s is not None and "query_embedding" in by_name:
        raise InvalidInputError("timeout_s is for a text, which a worker may have to embed; a vector needs none.")
    return _matches(
        call(
            "search_images",
            None,
            *first,
            **by_name,
            max_results=limit,
            collection=collection,
            filter=filter_argument(filter),
            min_score=min_score,
            image_ids=ids_argument(image_ids),
            skip_results=offset,
            after=position_argument(after),
            model_id=model_id,
            timeout_s=timeout_s,
        )
    )


def similar_images(
    image_id: Argument[int],
    *,
    limit: Argument[int] = 10,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002
    min_score: Argument[float] | None = None,
    image_ids: Ids | None = None,
    offset: Argument[int] | None = None,
    after: Position | None = None,
    model_id: Argument[int] | None = None,
) -> TableValuedAlias:
    """The images most like an indexed one, best first, without that one.

    With a column as `image_id` it is a lateral join: `similar_images(Product.image_id, limit=3).lateral("like")`.

    Args:
        image_id: Key in `siglip.images`, or a column of such keys.
        limit: As for `search_images`, and so are the others.
        collection: Search only this collection.
        filter: Only images whose metadata contain these keys and values.
        min_score: Only matches whose score, in [0, 1], is at least this.
        image_ids: Search only these images.
        offset: Leave out so many of the best.
        after: Begin behind this match.
        model_id: Search under this model, and not under the active one.

    Returns:
        Rows as those of `search_images`.
    """
    return _matches(
        call(
            "similar_images",
            None,
            image_id=image_id,
            max_results=limit,
            collection=collection,
            filter=filter_argument(filter),
            min_score=min_score,
            image_ids=ids_argument(image_ids),
            skip_results=offset,
            after=position_argument(after),
            model_id=model_id,
        )
    )


def images_with_label(
    label_set: Argument[str],
    label: Argument[str],
    *,
    min_score: Argument[float] | None = None,
    limit: Argument[int] | None = None,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002
    model_id: Argument[int] | None = None,
) -> TableValuedAlias:
    """The images that have a label, best first, all of them unless `limit` says otherwise.

    Args:
        label_set: Name of the label set.
        label: One of its labels.
        min_score: Least score, in [0, 1]; by default the label's threshold.
        limit: Most rows.
        collection: Only images of this collection.
        filter: Only images whose metadata contain these keys and values.
        model_id: Score under this model, and not under the active one.

    Returns:
        Rows as those of `search_images`.
    """
    return _matches(
        call(
            "images_with_label",
            None,
            label_set=label_set,
            label=label,
            min_score=min_score,
            max_results=limit,
            collection=collection,
            filter=filter_argument(filter),
            model_id=model_id,
        )
    )


def count_labels(
    label_set: Argument[str],
    *,
    min_score: Argument[float] | None = None,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002
    model_id: Argument[int] | None = None,
) -> TableValuedAlias:
    """How many images have each label of a set; arguments as for `images_with_label`.

    Returns:
        Rows with the columns `label` and `images`.
    """
    counts = call(
        "count_labels",
        None,
        label_set=label_set,
        min_score=min_score,
        collection=collection,
        filter=filter_argument(filter),
        model_id=model_id,
    )
    return counts.table_valued(column("label", Text), column("images", BigInteger))


def label_histogram(
    label_set: Argument[str],
    *,
    bins: Argument[int] | None = None,
    collection: Argument[str] | None = None,
    filter: Filter | None = None,  # noqa: A002
    model_id: Argument[int] | None = None,
) -> TableValuedAlias:
    """How the scores of each label of a set are spread over `bins` ranges of equal width, by default 10.

    Returns:
        Rows with the columns `label`, `from_score`, `to_score` and `images`.
    """
    bars = call(
        "label_histogram",
        None,
        label_set=label_set,
        bins=bins,
        collection=collection,
        filter=filter_argument(filter),
        model_id=model_id,
    )
    return bars.table_valued(
        column("label", Text), column("from_score", Double), column("to_score", Double), column("images", BigInteger)
    )


def image_matches(name: str, /, **arguments: Any) -> TableValuedAlias:
    """The rows of any function of the schema that returns `siglip.image_match`, such as `search_images`.

    Args:
        name: The function's name, without the schema.
        arguments: Its arguments, by the names that they have in SQL; see `function`.

    Returns:
        Rows as those of `search_images`.
    """
    return _matches(function(name, **arguments))


def _matches(found: Function[Any]) -> TableValuedAlias:
    return found.table_valued(
        column("image_id", BigInteger),
        column("uri", Text),
        column("similarity", Double),
        column("score", Double),
        column("metadata", JSONB),
    )
