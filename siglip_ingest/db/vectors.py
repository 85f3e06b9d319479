"""Between numpy's arrays and pgvector's `halfvec`, without asking the server for its type numbers.

In pgvector's binary format (`halfvec_send` in its src/halfvec.c), for COPY and as parameters. A parameter names no
type: PostgreSQL takes that of the column or of the function's argument that it is for, wherever pgvector's schema is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import pq
from psycopg.adapt import Dumper

from siglip_ingest.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

_ROW_HEADER = struct.Struct(">h")
_FIELD_HEADER = struct.Struct(">i")
_VECTOR_HEADER = struct.Struct(">HH")
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = _ROW_HEADER.pack(-1)


@dataclass(frozen=True, slots=True, eq=False)
class HalfVector:
    """A parameter of type `halfvec`: a (D,) vector of finite numbers."""

    embedding: NDArray[np.floating]


class HalfVectorDumper(Dumper):
    """Sends a `HalfVector` in binary, without a type number."""

    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: HalfVector) -> bytes:  # noqa: D102  # psycopg's
        return vector_bytes(obj.embedding)


def vector_text(embedding: NDArray[np.floating]) -> str:
    """Write a (D,) vector as pgvector reads it, rounded to half precision.

    Raises:
        InvalidInputError: If it isn't one row of finite numbers.
    """
    return "[" + ",".join(map(repr, _as_half(embedding).tolist())) + "]"


def vector_bytes(embedding: NDArray[np.floating]) -> bytes:
    """Write a (D,) vector in the binary format of `halfvec`: dimension, zero, then the elements, all big-endian.

    Raises:
        InvalidInputError: If it isn't one row of finite numbers.
    """
    half = _as_half(embedding)
    return _VECTOR_HEADER.pack(half.size, 0) + half.astype(">f2").tobytes()


def parse_vector(elements: Sequence[float]) -> NDArray[np.float32]:
    """Turn what `embedding::real[]` gives into a (D,) float32 array."""
    import numpy as np

    return np.asarray(elements, dtype=np.float32)


def copy_row(fields: Sequence[bytes | None]) -> bytes:
    """Pack one row of a binary COPY; None is NULL."""
    parts = [_ROW_HEADER.pack(len(fields))]
    for field in fields:
        if field is None:
            parts.append(_FIELD_HEADER.pack(-1))
        else:
            parts += (_FIELD_HEADER.pack(len(field)), field)
    return b"".join(parts)


def _as_half(embedding: NDArray[np.floating]) -> NDArray[np.float16]:
    import numpy as np

    half = np.asarray(embedding).astype(np.float16)
    if half.ndim != 1 or half.size == 0:
        raise InvalidInputError(f"An embedding has one dimension, not the shape {half.shape}.")
    if not np.isfinite(half).all():
        raise InvalidInputError("The embedding holds NaN or infinite numbers: the model or its input is broken.")
    return half
