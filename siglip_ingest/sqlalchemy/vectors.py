"""The types of columns and arguments that SQLAlchemy doesn't have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pgvector import HalfVector
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import Dialect
from sqlalchemy.types import TypeDecorator, UserDefinedType

from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Decorator = TypeDecorator[NDArray[np.float32]]
else:
    _Decorator = TypeDecorator


class HalfVec(_Decorator):
    """A vector in half precision: pgvector's `halfvec`, read as (D,) float32, written from an array or a sequence.

    Nothing needs to be registered with the connection, and pgvector may be in any schema. For `<#>` and the like
    (`ImageEmbedding.embedding.max_inner_product(vector)`) its schema must be in the search_path.
    """

    impl = HALFVEC
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> list[float] | None:  # noqa: ARG002
        """Make a parameter of (D,) numbers; what isn't that is refused as `to_floats` does it."""
        return None if value is None else to_floats(value)

    process_literal_param = process_bind_param  # type: ignore[assignment]  # HALFVEC makes text of it afterwards

    def process_result_value(self, value: Any, dialect: Dialect) -> NDArray[np.float32] | None:  # noqa: ARG002
        """Make an array of what pgvector gives: its own class, or, from 0.5 on, a list."""
        if value is None:
            return None
        return np.asarray(value.to_list() if isinstance(value, HalfVector) else value, dtype=np.float32)

    def compare_values(self, x: Any, y: Any) -> bool:
        """Whether two vectors are equal, in all elements."""
        return x is y or (x is not None and y is not None and np.array_equal(x, y))


def to_floats(value: Sequence[float] | NDArray[np.number[Any]]) -> list[float]:
    """Make a list of a vector, (D,) numbers, in single precision.

    Raises:
        InvalidInputError: If it isn't one row of finite numbers.
    """
    try:
        vector = np.asarray(value.to_list() if isinstance(value, HalfVector) else value, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"A vector is a row of numbers, not a {type(value).__name__}.") from error
    if vector.ndim != 1 or not vector.size:
        raise InvalidInputError(f"A vector has one dimension and at least one element, not the shape {vector.shape}.")
    if not np.isfinite(vector).all():
        raise InvalidInputError("The vector holds NaN or infinite numbers.")
    floats: list[float] = vector.tolist()
    return floats


class SearchPosition(UserDefinedType[Any]):
    """The composite type `siglip.search_position`: a place in a search result."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Name the type in SQL."""
        return "siglip.search_position"
