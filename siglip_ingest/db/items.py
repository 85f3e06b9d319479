"""The table `siglip.ingest_items`: which images are queued, claimed by a worker, done or failed.

A claim is a token, valid for as long as the worker that claimed is alive (see workers.py). A call with a token that is
no longer valid changes nothing.

Images are locked before their items, images in the order of (collection, uri), items in that of (image_id, model_id),
so that no two transactions deadlock.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg.types.json import Jsonb
from psycopg.types.numeric import Int4, Int8

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.types import IngestCounts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("items")


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A claimed item: an image to embed.

    Attributes:
        item_id: Its key in the ledger.
        image_id: Its image.
        uri: Where the image is.
        has_content: True where `images.load_content` has its bytes.
        attempts: How often it was claimed, this time included.
        is_suspect: Whether its last worker was lost with it.
        source_version: What told a changed source from the same one when it was queued; of a tar's member, where it is.
        reads_exif: Whether what EXIF says of it is asked for.
    """

    item_id: int
    image_id: int
    uri: str
    has_content: bool
    attempts: int
    is_suspect: bool = False
    source_version: str | None = None
    reads_exif: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class CompletedItem:
    """What became of an item that was embedded.

    Attributes:
        item_id: Its key in the ledger.
        image_id: Its image.
        lease_token: The claim's.
        content_hash: SHA-256 of the image's bytes, 32 bytes.
        width: Of the image, in pixels; None, as height and format, where the database has the content already.
        height: Of the image, in pixels.
        format: As Pillow names it, for instance `JPEG`.
        embedding: (D,) float32 unit vector; None where the database has the vector of that content already.
        metadata: Merged into those of the image; a JSON object.
    """

    item_id: int
    image_id: int
    lease_token: UUID
    content_hash: bytes
    width: int | None
    height: int | None
    format: str | None
    embedding: NDArray[np.float32] | None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item that can't be embedded now, or ever.

    Attributes:
        item_id: Its key in the ledger.
        lease_token: The claim's.
        code: A short word.
        message: A sentence.
        pause_s: Seconds to wait for the next attempt; None where there is no point in one.
    """

    item_id: int
    lease_token: UUID
    code: str
    message: str
    pause_s: float | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """What became of items: how many are done, failed for good, and are queued again."""

    done: int = 0
    failed: int = 0
    requeued: int = 0


def claim_items(connection: Connection, worker_id: UUID, model_id: int, limit: int, lease_token: UUID) -> list[ItemRow]:
    """Claim the next queued items for a registered worker; no two claims get the same one, and none gets a suspect.

    Args:
        connection: In or out of a transaction.
        worker_id: Of the worker.
        model_id: The model to embed with.
        limit: Most items.
        lease_token: A new one.

    Returns:
        No rows where nothing is queued, or all that is waits for a retry.
    """
    parameters = {"worker_id": worker_id, "model_id": model_id, "limit": limit, "lease_token": lease_token}
    return [ItemRow(*row) for row in connection.execute(SQL.claim_items, parameters)]


def claim_suspects(
    connection: Connection, worker_id: UUID, model_id: int, limit: int, lease_token: UUID, *, max_attempts: int
) -> list[ItemRow]:
    """Claim queued items whose last worker was lost with them; whatever else the worker has may be lost with them.

    Those that have one attempt left are claimed alone: if one of them is what ends workers, no other one fails with it.
    Takes and returns what `claim_items` does.
    """
    parameters = {"worker_id": worker_id, "model_id": model_id, "limit": limit, "lease_token": lease_token}
    rows = connection.execute(SQL.claim_suspects, {**parameters, "max_attempts": max_attempts})
    return [ItemRow(*row) for row in rows]


def has_suspects(connection: Connection, model_id: int) -> bool:
    """Whether items are queued whose last worker was lost with them."""
    return connection.execute(SQL.has_suspects, {"model_id": model_id}).fetchone() == (True,)


def find_embedded(connection: Connection, model_id: int, content_hashes: Collection[bytes]) -> set[bytes]:
    """Those of the contents that have a vector under the model."""
    parameters = {"model_id": model_id, "content_hashes": list(content_hashes)}
    return {content_hash for (content_hash,) in connection.execute(SQL.find_embedded, parameters)}


def close_items(
    connection: Connection,
    model_id: int,
    completed: Sequence[CompletedItem],
    failed: Sequence[FailedItem] = (),
    *,
    max_attempts: int = 1,
) -> Closed:
    """Store vectors by COPY, store the images' sizes and formats, and close the items: all or nothing.

    Items that aren't claimed under their token any more are left alone, and so are their images. An item is only done
    if its content has a vector now; else it goes back to the queue.

    Args:
        connection: In or out of a transaction; all happens in one.
        model_id: The model.
        completed: Items that were embedded, of any claims.
        failed: Items that couldn't be.
        max_attempts: After so many an item ends as failed, whatever its pause is.
    """
    item_ids = [item.item_id for item in completed] + [item.item_id for item in failed]
    with connection.transaction():
        if completed:
            _send_results(connection, completed)
            connection.execute(SQL.lock_completed_images)
        connection.execute(SQL.lock_claimed_items, {"item_ids": item_ids})
        states = _complete(connection, model_id) if completed else []
        states += _fail(connection, model_id, failed, max_attempts) if failed else []
    return Closed(states.count("done"), failed=states.count("failed"), requeued=states.count("queued"))


def _send_results(connection: Connection, completed: Sequence[CompletedItem]) -> None:
    connection.execute(SQL.create_new_results)
    connection.execute(SQL.empty_new_results)
    with connection.cursor().copy(SQL.copy_new_results) as copy:
        for item in completed:
            copy.write_row(_result_row(item))


def _complete(connection: Connection, model_id: int) -> list[str]:
    """Store what was sent; returns the new state of each item that was still under its claim."""
    parameters = {"model_id": model_id}
    connection.execute(SQL.keep_claimed_results, parameters)
    connection.execute(SQL.upsert_contents)
    connection.execute(SQL.hold_known_contents)
    connection.execute(SQL.insert_image_embeddings, parameters)
    connection.execute(SQL.update_completed_images)
    connection.execute(SQL.keep_labels, parameters)
    return [state for (state,) in connection.execute(SQL.close_completed_items, parameters)]


def _fail(connection: Connection, model_id: int, failed: Sequence[FailedItem], max_attempts: int) -> list[str]:
    """Mark items as failed, or queue them again; returns the new state of each item that was still under its claim."""
    parameters = {
        "model_id": model_id,
        "failed_ids": [item.item_id for item in failed],
        "lease_tokens": [item.lease_token for item in failed],
        "codes": [item.code for item in failed],
        "messages": [_storable(item.message) for item in failed],
        "pauses_s": [item.pause_s for item in failed],
        "max_attempts": max_attempts,
    }
    return [state for (state,) in connection.execute(SQL.fail_items, parameters)]


def release_strays(connection: Connection, worker_id: UUID, known_tokens: Sequence[UUID]) -> int:
    """Hand back what a worker has claimed under other tokens than those that it knows; returns how many items."""
    parameters = {"worker_id": worker_id, "known_tokens": list(known_tokens)}
    released = connection.execute(SQL.release_strays, parameters).fetchall()
    for (model_id,) in set(released):
        notify_workers(connection, model_id)
    return len(released)


def disown_items(connection: Connection, worker_id: UUID, lease_tokens: Sequence[UUID]) -> int:
    """Leave a worker's claims that make no progress to `workers.requeue_lost`; returns how many items that are."""
    parameters = {"worker_id": worker_id, "lease_tokens": list(lease_tokens)}
    return connection.execute(SQL.disown_items, parameters).rowcount


def queue_missing(connection: Connection, model_id: int) -> int:
    """Queue every image that has no item under the model, unless it is external; returns how many."""
    ((queued,),) = connection.execute(SQL.queue_missing, {"model_id": model_id}).fetchall()
    return int(queued)


def move_queued(connection: Connection, *, from_model_id: int, to_model_id: int) -> int:
    """Move what is queued or failed under one model to another that has no item for it; returns how many items."""
    parameters = {"from_model_id": from_model_id, "to_model_id": to_model_id}
    moved = connection.execute(SQL.move_queued, parameters).rowcount
    connection.execute(SQL.move_ingestions, parameters)
    notify_workers(connection, to_model_id)
    return moved


def retry_failed(
    connection: Connection, model_id: int, collection: str | None = None, *, ingestion_id: int | None = None
) -> int:
    """Queue what failed under the model again: in one collection or in all, of one ingestion or of all.

    Returns:
        How many items.
    """
    parameters = {"model_id": model_id, "collection": collection, "ingestion_id": ingestion_id}
    queued = connection.execute(SQL.retry_failed, parameters).rowcount
    notify_workers(connection, model_id)
    return queued


def notify_workers(connection: Connection, model_id: int) -> None:
    """Tell the workers of a model that items are queued, once the transaction is committed."""
    connection.execute(SQL.notify_items, {"model_id": model_id})


def count_all(connection: Connection, model_id: int | None = None) -> IngestCounts:
    """How many items are queued, claimed, done and failed under one model, or under all."""
    return IngestCounts(**dict(connection.execute(SQL.count_all_items, {"model_id": model_id})))


def _storable(message: str) -> str:
    """Drop what PostgreSQL's text can't hold (U+0000, lone surrogates), and all after 2,000 characters."""
    return message.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:2000]


def _result_row(item: CompletedItem) -> tuple[object, ...]:
    embedding = None if item.embedding is None else half_vector(item.embedding)
    size = (None, None) if item.width is None or item.height is None else (Int4(item.width), Int4(item.height))
    keys = Int8(item.item_id), Int8(item.image_id), item.lease_token
    metadata = Jsonb(dict(item.metadata)) if item.metadata else None
    return (*keys, item.content_hash, *size, item.format, embedding, metadata)
