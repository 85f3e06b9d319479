"""The table `siglip.texts`: a cache of the vectors of queries and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import half_vector, parse_vector
from siglip_ingest.types import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("texts")

MAX_TEXT_BYTES = 1200  # siglip.cut_text's


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedText:
    """A text and what a model makes of it: a vector or a refusal.

    Attributes:
        query: The text, as `cut_text` leaves it.
        embedding: (D,) float32 unit vector; None where the model can't read the text.
        warning: What the model doesn't read of it, a sentence.
        refusal: Why the model can't read it, a sentence.
    """

    query: str
    embedding: NDArray[np.float32] | None
    warning: str | None = None
    refusal: str | None = None


def cut_text(query: str) -> str:
    """The first 1,200 bytes of a text in UTF-8, in whole characters: more than any model reads; the rest is dropped."""
    content = query.encode()
    return query if len(content) <= MAX_TEXT_BYTES else content[:MAX_TEXT_BYTES].decode(errors="ignore")


def find_text(connection: Connection, model_id: int, query: str) -> NDArray[np.float32] | None:
    """The (D,) float32 unit vector of a text as typed; None where the cache doesn't have it."""
    parameters = {"model_id": model_id, "query": cut_text(query)}
    row = connection.execute(SQL.find_text, parameters).fetchone()
    return None if row is None or row[0] is None else parse_vector(row[0])


def store_texts(
    connection: Connection,
    model_id: int,
    info: ModelInfo,
    answers: Sequence[EmbeddedText],
    *,
    max_rows: int | None = None,
) -> None:
    """Cache texts under the model that made their vectors; those that are cached already stay.

    Args:
        connection: In a transaction, or in autocommit mode.
        model_id: The model's key.
        info: The model that made the vectors.
        answers: The texts with their vectors.
        max_rows: Texts kept for the model, those that were used last; by default the database's setting.

    Raises:
        DatabaseConflictError: If `model_id` isn't that model (any more).
    """
    with connection.cursor() as cursor:
        cursor.executemany(
            SQL.store_text,
            [
                {
                    "query": answer.query,
                    "embedding": None if answer.embedding is None else half_vector(answer.embedding),
                    "model_id": model_id,
                    "name": info.name,
                    "revision": info.revision,
                    "warning": answer.warning,
                    "refusal": answer.refusal,
                    "max_rows": max_rows,
                }
                for answer in sorted(
                    answers, key=lambda answer: answer.query
                )  # so that no two writers block each other
            ],
        )


def embed_text(connection: Connection, model_id: int, query: str, timeout_s: float) -> NDArray[np.float32]:
    """The (D,) float32 unit vector of a text: from the cache, or from a worker that embeds it meanwhile.

    Raises:
        WorkerUnavailableError: If no worker of the model is there, or none answers in time.
        InvalidInputError: If the model can't read the text.
    """
    parameters = {"query": query, "model_id": model_id, "timeout_s": timeout_s}
    ((elements,),) = connection.execute(SQL.embed_text, parameters)
    return parse_vector(elements)
