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


def pack_embeddings(model_id: int, content_ids: Sequence[int], embeddings: NDArray[np.floating]) -> bytes:
    """Make the binary COPY of `siglip.image_embeddings`: (model_id, content_id, embedding), a vector a row.

    Args:
        model_id: The model.
        content_ids: N.
        embeddings: (N, D), finite; rounded to half precision.
    """
    import numpy as np

    # As COPY's binary format and halfvec_send (pgvector, src/halfvec.c) lay fields out, most significant byte first.
    count, dimension = embeddings.shape
    row = np.dtype(
        [("fields", ">i2"), ("size_1", ">i4"), ("model_id", ">i4"), ("size_2", ">i4"), ("content_id", ">i8"),
         ("size_3", ">i4"), ("dimension", ">i2"), ("unused", ">i2"), ("embedding", ">u2", (dimension,))]
    )  # fmt: skip
    rows = np.zeros(count, row)
    rows["fields"], rows["size_1"], rows["size_2"], rows["size_3"] = 3, 4, 8, 4 + 2 * dimension
    rows["model_id"], rows["content_id"], rows["dimension"] = model_id, content_ids, dimension
    rows["embedding"] = embeddings.astype(np.float16, copy=False).view(np.uint16)
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"


def unpack_embeddings(packed: Sequence[bytes]) -> NDArray[np.float16]:
    """Read N `halfvec` that came in binary into (N, D) float16."""
    import numpy as np

    rows = np.frombuffer(b"".join(packed), ">u2").reshape(len(packed), -1)[:, 2:]  # after the dimension and a zero
    return rows.astype(np.uint16).view(np.float16)


def parse_vector(elements: Sequence[float]) -> NDArray[np.float32]:
    """Turn what `embedding::real[]` gives into a (D,) float32 array."""
    import numpy as np

    return np.asarray(elements, dtype=np.float32)
