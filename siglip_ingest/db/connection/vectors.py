"""Converts between numpy arrays and pgvector's `halfvec`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgvector import HalfVector
from psycopg import pq
from psycopg.adapt import Dumper

from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray


class HalfVectorDumper(Dumper):
    """Sends a `HalfVector` in binary, without a type number: the server takes that of the column or of the argument.

    pgvector's own `register_vector` asks for the numbers: four round trips a connection, and it needs the search path.
    """

    format = pq.Format.BINARY

    def dump(self, obj: HalfVector) -> bytes:  # noqa: D102  # psycopg's
        return bytes(obj.to_binary())


def half_vector(embedding: NDArray[np.floating]) -> HalfVector:
    """Make a parameter of type `halfvec` from a (D,) vector, rounded to half precision.

    Raises:
        InvalidInputError: If it isn't one row of finite numbers.
    """
    import numpy as np

    half = np.asarray(embedding).astype(np.float16)
    if half.ndim != 1 or half.size == 0:
        raise InvalidInputError(f"An embedding has one dimension, not the shape {half.shape}.")
    if not np.isfinite(half).all():
        raise InvalidInputError("The embedding holds NaN or infinite numbers: the model or its input is broken.")
    return HalfVector(half)


def parse_vector(elements: Sequence[float]) -> NDArray[np.float32]:
    """Turn what `embedding::real[]` gives into a (D,) float32 array."""
    import numpy as np

    return np.asarray(elements, dtype=np.float32)
