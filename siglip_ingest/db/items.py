"""The ledger `siglip.ingest_items`: what is queued, with a worker, done or failed.

A claim is a lease: a token, and a time until which it counts. Whoever shows a token that no longer counts changes
nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from siglip_ingest.db.pool import Connection
from siglip_ingest.db.statements import load_statement
from siglip_ingest.db.vectors import COPY_HEADER, COPY_TRAILER, copy_row, vector_bytes
from siglip_ingest.types import ImageFailure, IngestCounts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INT4 = struct.Struct(">i")
_INT8 = struct.Struct(">q")


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A claimed item: an image to embed.

    Attributes:
        item_id: Its key in the ledger.
        image_id: Its image.
        uri: Where the image is.
        has_content: True where `images.load_content` has its bytes.
        attempts: How often it was claimed, this time included.
    """

    item_id: int
    image_id: int
    uri: str
    has_content: bool
    attempts: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one claim got: items under one lease."""

    lease_token: UUID
    items: list[ItemRow]


@dataclass(frozen=True, slots=True, eq=False)
class CompletedItem:
    """What became of an item that was embedded.

    Attributes:
        item_id: Its key in the ledger.
        image_id: Its image.
        content_hash: SHA-256 of the image's bytes, 32 bytes.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        format: As Pillow names it, for instance `JPEG`.
        embedding: (D,) float32 unit vector; None where the database has the vector of that content already.
    """

    item_id: int
    image_id: int
    content_hash: bytes
    width: int
    height: int
    format: str
    embedding: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Requeued:
    """What `requeue_expired` found: items queued again, and items that ended as failed."""

    requeued: int
    failed: int


def claim_items(connection: Connection, model_id: int, limit: int, lease_s: float) -> Chunk | None:
    """Claim the next queued items for `lease_s` seconds; no two claims get the same one.

    An item whose last worker was lost with it is claimed alone: if it is what killed the worker, nothing else goes
    with it.

    Returns:
        At most `limit` items; None where nothing is queued, or all that is waits for a retry.
    """
    lease_token = uuid4()
    parameters = {"model_id": model_id, "limit": limit, "lease_token": lease_token, "lease_s": lease_s}
    rows = connection.execute(load_statement("claim_items"), parameters).fetchall()
    return Chunk(lease_token, [_item(row) for row in rows]) if rows else None


def load_items(connection: Connection, lease_token: UUID, item_ids: Sequence[int]) -> list[ItemRow]:
    """Those of the items that are still claimed under the token, in the order of their ids."""
    parameters = {"lease_token": lease_token, "item_ids": list(item_ids)}
    return [_item(row) for row in connection.execute(load_statement("load_items"), parameters)]


def renew_lease(connection: Connection, lease_token: UUID, lease_s: float) -> int:
    """Let a claim count for `lease_s` seconds from now; returns how many items are still under it."""
    return connection.execute(load_statement("renew_lease"), {"lease_token": lease_token, "lease_s": lease_s}).rowcount


def requeue_expired(connection: Connection, max_attempts: int) -> Requeued:
    """Queue what lost its worker again; after `max_attempts` it ends as failed, with the code `worker_lost`."""
    row = connection.execute(load_statement("requeue_expired"), {"max_attempts": max_attempts}).fetchone()
    requeued, failed, _ = cast("tuple[int, int, int]", row)
    return Requeued(requeued=requeued, failed=failed)


def find_embedded(connection: Connection, model_id: int, content_hashes: Collection[bytes]) -> set[bytes]:
    """Those of the contents that have a vector under the model."""
    parameters = {"model_id": model_id, "content_hashes": list(content_hashes)}
    return {cast("bytes", row[0]) for row in connection.execute(load_statement("find_embedded"), parameters)}


def complete_items(connection: Connection, model_id: int, lease_token: UUID, results: Sequence[CompletedItem]) -> int:
    """Store vectors by COPY, write down what the images are, and close the items: all or nothing.

    Items that aren't claimed under the token are left alone, and so are their images. An item is only closed if its
    content has a vector now.

    Returns:
        How many items were closed.
    """
    if not results:
        return 0
    with connection.transaction():
        connection.execute(load_statement("create_new_results"))
        connection.execute(load_statement("empty_new_results"))
        with connection.cursor().copy(load_statement("copy_new_results")) as copy:
            copy.write(COPY_HEADER + b"".join(map(_pack_result, results)) + COPY_TRAILER)
        parameters = {"model_id": model_id, "lease_token": lease_token}
        connection.execute(load_statement("lock_completed_images"))
        connection.execute(load_statement("keep_claimed_results"), parameters)
        connection.execute(load_statement("insert_image_embeddings"), parameters)
        connection.execute(load_statement("update_completed_images"))
        return connection.execute(load_statement("close_completed_items"), parameters).rowcount


def fail_item(connection: Connection, item_id: int, lease_token: UUID, code: str, message: str) -> bool:
    """End an item as failed, for good; returns False where it is no longer under the token."""
    parameters = {"item_id": item_id, "lease_token": lease_token, "code": code, "message": _storable(message)}
    return connection.execute(load_statement("fail_item"), parameters).rowcount == 1


def retry_item(
    connection: Connection,
    item_id: int,
    lease_token: UUID,
    code: str,
    message: str,
    not_before_s: float,
    max_attempts: int,
) -> bool:
    """Queue an item again, for `not_before_s` seconds from now; after `max_attempts` it ends as failed.

    Returns:
        False where it is no longer under the token.
    """
    parameters = {
        "item_id": item_id,
        "lease_token": lease_token,
        "code": code,
        "message": _storable(message),
        "not_before_s": not_before_s,
        "max_attempts": max_attempts,
    }
    return connection.execute(load_statement("retry_item"), parameters).rowcount == 1


def release_items(connection: Connection, lease_token: UUID) -> int:
    """Hand back what is left of a claim, as if it had not been claimed; returns how many items that are."""
    released = connection.execute(load_statement("release_items"), {"lease_token": lease_token}).fetchall()
    for (model_id,) in set(released):
        connection.execute(load_statement("notify_items"), {"model_id": model_id})
    return len(released)


def queue_missing(connection: Connection, model_id: int) -> int:
    """Queue every image that has no item under the model; returns how many."""
    queued = connection.execute(load_statement("queue_missing"), {"model_id": model_id}).rowcount
    connection.execute(load_statement("notify_items"), {"model_id": model_id})
    return queued


def move_queued(connection: Connection, *, from_model_id: int, to_model_id: int) -> int:
    """Give what is queued or failed under one model to another that has no item for it yet; returns how many items."""
    parameters = {"from_model_id": from_model_id, "to_model_id": to_model_id}
    moved = connection.execute(load_statement("move_queued"), parameters).rowcount
    connection.execute(load_statement("notify_items"), {"model_id": to_model_id})
    return moved


def retry_failed(connection: Connection, model_id: int, collection: str | None = None) -> int:
    """Queue what failed under the model once more, in one collection or in all; returns how many items."""
    parameters = {"model_id": model_id, "collection": collection}
    queued = connection.execute(load_statement("retry_failed"), parameters).rowcount
    connection.execute(load_statement("notify_items"), {"model_id": model_id})
    return queued


def count_items(connection: Connection, image_ids: Sequence[int], model_id: int) -> IngestCounts:
    """How many of the images are queued, claimed, done and failed under the model."""
    parameters = {"image_ids": list(image_ids), "model_id": model_id}
    return _counts(connection.execute(load_statement("count_items"), parameters).fetchall())


def list_image_ids(connection: Connection, model_id: int, collection: str | None = None) -> list[int]:
    """The images of a collection, or of all, that have an item under the model, in the order of their ids."""
    parameters = {"model_id": model_id, "collection": collection}
    rows: list[Any] = connection.execute(load_statement("list_image_ids"), parameters).fetchall()
    return [image_id for (image_id,) in rows]


def count_all(connection: Connection, model_id: int | None = None) -> IngestCounts:
    """How many items are queued, claimed, done and failed under one model, or under all."""
    return _counts(connection.execute(load_statement("count_all_items"), {"model_id": model_id}).fetchall())


def list_failures(connection: Connection, image_ids: Sequence[int], model_id: int) -> list[ImageFailure]:
    """Those of the images that failed under the model, and why, in the order of their ids."""
    parameters = {"image_ids": list(image_ids), "model_id": model_id}
    rows: list[Any] = connection.execute(load_statement("list_failures"), parameters).fetchall()
    return [ImageFailure(*row) for row in rows]


def _item(row: Sequence[Any]) -> ItemRow:
    return ItemRow(*row)


def _counts(rows: Sequence[Any]) -> IngestCounts:
    return IngestCounts(**dict(rows))


def _storable(message: str) -> str:
    """PostgreSQL's text has no U+0000 and no lone surrogates; a reason is a sentence, not a dump."""
    return message.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:2000]


def _pack_result(result: CompletedItem) -> bytes:
    return copy_row(
        (
            _INT8.pack(result.item_id),
            _INT8.pack(result.image_id),
            result.content_hash,
            _INT4.pack(result.width),
            _INT4.pack(result.height),
            result.format.encode(),
            None if result.embedding is None else vector_bytes(result.embedding),
        )
    )
