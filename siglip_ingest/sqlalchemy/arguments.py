"""Arguments of the schema's functions: by name, `name => value`, bound and never written into the statement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Select,
    SQLColumnExpression,
    String,
    Text,
    cast,
    column,
    func,
    literal,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import TypeEngine

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.sqlalchemy.vectors import HalfVec, SearchPosition, to_floats
from siglip_ingest.types import ImageMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
Vector: TypeAlias = "Sequence[float] | NDArray[np.number[Any]]"
Argument: TypeAlias = T | SQLColumnExpression[T | None]  # a column may be NULL
Ids: TypeAlias = Iterable[int] | Select[Any] | SQLColumnExpression[Any]
Position: TypeAlias = tuple[float, int] | ImageMatch | SQLColumnExpression[Any]
Filter: TypeAlias = Mapping[str, Any] | SQLColumnExpression[Any]

# What a Python value is bound as; a name means the same in every function of the schema.
_TYPES: dict[str, TypeEngine[Any]] = {
    "after": SearchPosition(),
    "bins": Integer(),
    "collection": Text(),
    "each_metadata": ARRAY(JSONB(none_as_null=True)),
    "filter": JSONB(),
    "image_id": BigInteger(),
    "image_ids": ARRAY(BigInteger),
    "keys": ARRAY(Text),
    "label": Text(),
    "label_set": Text(),
    "max_images": Integer(),
    "max_results": Integer(),
    "metadata": JSONB(),
    "min_score": Double(),
    "model_id": Integer(),
    "query": Text(),
    "query_embedding": HalfVec(),
    "similarity": Double(),
    "skip_results": Integer(),
    "timeout_s": Double(),
    "uris": ARRAY(Text),
}


def named(name: str, value: Any, type_: TypeEngine[Any] | None = None) -> ColumnElement[Any]:
    """An argument by its name, `name => value`.

    Args:
        name: The parameter's name.
        value: A value, which is bound; or an expression.
        type_: What a value is bound as; by default what parameters of that name are, or what its Python type says.
    """
    if isinstance(value, SQLColumnExpression):
        return column(name).op("=>")(value)
    return column(name).op("=>")(literal(value, type_ or _TYPES.get(name) or _type_of(value)))


def function(name: str, type_: TypeEngine[Any] | None = None, /, **arguments: Any) -> Function[Any]:
    """A call of any function of the schema, by the names that its arguments have in SQL.

        rows = function("index_recall", sample=50).table_valued("kind", "recall")

    Args:
        name: The function's name, without the schema.
        type_: The type of its value.
        arguments: Values, which are bound (a mapping as jsonb, a numpy array as a vector), or expressions. What is None
            is left out.
    """
    return call(name, type_, **arguments)


def call(
    name: str, type_: TypeEngine[Any] | None = None, /, *first: SQLColumnExpression[Any], **arguments: Any
) -> Function[Any]:
    """A call of `siglip.<name>`. Arguments that are None are left out, so that the function's own default holds."""
    by_name = [named(argument, value) for argument, value in arguments.items() if value is not None]
    made: Function[Any] = getattr(func.siglip, name)(*first, *by_name, type_=type_)
    return made


def query_argument(
    query: str | Vector | SQLColumnExpression[Any],
) -> tuple[list[SQLColumnExpression[Any]], dict[str, Any]]:
    """What to search by, by its name, or as the first argument where its type is known to the database only.

    Raises:
        InvalidInputError: If it is neither a text nor an expression, nor one row of finite numbers.
    """
    if isinstance(query, str):
        return [], {"query": query}
    if not isinstance(query, SQLColumnExpression):
        return [], {"query_embedding": to_floats(query)}
    kind = getattr(query, "type", None)
    if isinstance(kind, String):
        return [], {"query": query}
    return ([], {"query_embedding": query}) if isinstance(kind, HalfVec) else ([query], {})


def ids_argument(ids: Ids | None) -> Any:
    """The ids of images: a list, or the array of what a SELECT of one column finds."""
    if isinstance(ids, Select):
        # Without its own FROM it would search by the rows of the statement that it stands in.
        return func.array(ids.correlate(None).scalar_subquery(), type_=ARRAY(BigInteger))
    return ids if ids is None or isinstance(ids, SQLColumnExpression) else list(ids)


def position_argument(after: Position | None) -> Any:
    """The place behind which a page begins: a match, or its (similarity, image_id)."""
    if after is None or isinstance(after, SQLColumnExpression):
        return after
    similarity, image_id = _position(after)
    return cast(tuple_(literal(similarity, Double), literal(image_id, BigInteger)), SearchPosition)


def filter_argument(filter: Filter | None) -> Any:  # noqa: A002
    """Keys and values that the metadata must contain."""
    return dict(filter) if isinstance(filter, Mapping) else filter


def _type_of(value: Any) -> TypeEngine[Any] | None:
    """The type of what SQLAlchemy has none for: objects of JSON, vectors as arrays, lists of texts and of ids."""
    if isinstance(value, Mapping):
        return JSONB()
    if getattr(value, "ndim", 0) == 1:
        return HalfVec()
    if isinstance(value, list) and value:
        return ARRAY(Text) if isinstance(value[0], str) else ARRAY(BigInteger) if isinstance(value[0], int) else None
    return None


def _position(after: Any) -> tuple[float, int]:
    if hasattr(after, "similarity"):  # a match, or a row of a search, which are tuples too
        return after.similarity, after.image_id
    if isinstance(after, tuple) and len(after) == 2:
        return after
    raise InvalidInputError(f"after is a match, or its (similarity, image_id), not {after!r}.")
