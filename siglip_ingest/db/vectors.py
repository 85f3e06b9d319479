"""Vectors in and out, some thousand at a time: images with their contents and vectors, without a worker.

A batch is one transaction. Locks are taken as everywhere: images, contents, items, each kind in one order. Where
another transaction stores the same images at the same moment, the batch fails as a conflict and is tried again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import errors as pg

from siglip_ingest.db.connection.arrays import write_array
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.connection.vectors import pack_embeddings, unpack_embeddings
from siglip_ingest.db.items import notify_workers
from siglip_ingest.errors import DatabaseConflictError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SQL = load_statements("vectors")


class Record(NamedTuple):
    """One image that a vector is of.

    Attributes:
        collection: The set of images that it joins.
        uri: Where it is, unique in its collection.
        key: The caller's own key; None where there is none.
        metadata: A JSON object, written as JSON; None where nothing is said.
        content_hash: SHA-256 of the image file, 32 bytes; None where it isn't known.
        width: In pixels; None where it isn't known.
        height: In pixels; None where it isn't known.
        format: As Pillow names it, for instance `JPEG`; None where it isn't known.
    """

    collection: str
    uri: str
    key: str | None = None
    metadata: str | None = None
    content_hash: bytes | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: rows that were stored, that had a vector already, and whose vector was replaced."""

    imported: int = 0
    skipped: int = 0
    replaced: int = 0


class ExportedRow(NamedTuple):
    """An image that has a vector."""

    image_id: int
    content_id: int
    uri: str
    collection: str
    key: str | None
    metadata: dict[str, Any]
    content_hash: str | None
    width: int | None
    height: int | None
    format: str | None


class _Found(NamedTuple):
    image_id: int
    content_id: int | None


def has_images(connection: Connection, collections: Collection[str]) -> bool:
    """Whether there are images in any of the collections."""
    return connection.execute(SQL.has_images, {"collections": list(collections)}).fetchone() == (True,)


def count_vectors(connection: Connection, model_id: int) -> int:
    """How many vectors there are under a model."""
    ((count,),) = connection.execute(SQL.count_vectors, {"model_id": model_id}).fetchall()
    return int(count)


def store_vectors(
    connection: Connection,
    model_id: int,
    records: Sequence[Record],
    embeddings: NDArray[np.float16],
    *,
    replace: bool = False,
    assume_new: bool = False,
    has_ledger: bool = True,
) -> Stored:
    """Store images with their vectors.

    An image that has a vector under the model is left as it is, unless `replace` is True. Records of one content hash
    share one content and one vector: the first one's, with `replace` the last one's.

    Args:
        connection: In a transaction.
        model_id: The model.
        records: N, no (collection, uri) twice.
        embeddings: (N, D) float16 unit vectors.
        replace: Whether vectors that are there are replaced.
        assume_new: Whether none of the images is there yet: then nothing is looked up.
        has_ledger: Whether workers could embed under the model, so that the ledger must say that these are done.

    Raises:
        DatabaseConflictError: If another transaction stores the same images or contents; without `assume_new` the same
            call may succeed.
    """
    connection.execute(SQL.prefer_lookups)
    if replace:
        connection.execute(SQL.await_maintenance)
    found = {} if assume_new else _lock_images(connection, records)
    known = [image.content_id for image in found.values() if image.content_id is not None]
    embedded = _find_vectors(connection, model_id, known)
    had_vector = {position for position, image in found.items() if image.content_id in embedded}
    chosen = [position for position in range(len(records)) if replace or position not in had_vector]
    try:
        content_ids, created = _store_contents(connection, records, chosen, found)
        _store_images(connection, records, content_ids, found, model_id)
        order = content_ids if replace else dict(reversed(content_ids.items()))
        rows = {content_id: position for position, content_id in order.items()}
        taken = _find_vectors(connection, model_id, rows.keys() - created)
        if replace:
            if taken:
                connection.execute(SQL.delete_vectors, {"model_id": model_id, "content_ids": write_array(taken)})
        else:
            rows = {content_id: position for content_id, position in rows.items() if content_id not in taken}
        _copy_vectors(connection, model_id, rows, embeddings)
    except (pg.UniqueViolation, pg.ForeignKeyViolation) as error:
        raise DatabaseConflictError("Another program stores, or deletes, the same images. Try again.") from error
    if has_ledger:
        image_ids = [found[position].image_id for position in chosen if position in found]
        if image_ids:
            connection.execute(SQL.close_items, {"model_id": model_id, "image_ids": write_array(image_ids)})
        contents = write_array(set(content_ids.values()))
        connection.execute(SQL.insert_done_items, {"model_id": model_id, "content_ids": contents})
    if content_ids:
        contents = write_array(set(content_ids.values()))
        connection.execute(SQL.keep_labels, {"model_id": model_id, "content_ids": contents})
    replaced = len(had_vector) if replace else 0
    return Stored(len(chosen) - replaced, len(records) - len(chosen), replaced)


def _lock_images(connection: Connection, records: Sequence[Record]) -> dict[int, _Found]:
    parameters = {
        "collections": write_array([record.collection for record in records]),
        "uris": write_array([record.uri for record in records]),
    }
    rows = connection.execute(SQL.lock_images, parameters, binary=True).fetchall()
    return {position: _Found(image_id, content_id) for position, image_id, content_id in rows}


def _find_vectors(connection: Connection, model_id: int, content_ids: Collection[int]) -> set[int]:
    if not content_ids:
        return set()
    parameters = {"model_id": model_id, "content_ids": write_array(content_ids)}
    return {content_id for (content_id,) in connection.execute(SQL.find_vectors, parameters, binary=True).fetchall()}


def _store_contents(
    connection: Connection, records: Sequence[Record], chosen: Sequence[int], found: Mapping[int, _Found]
) -> tuple[dict[int, int], set[int]]:
    """Find or make the content of each chosen record; returns them by position, and which of them are new."""
    hashed = {hash_: records[position] for position in reversed(chosen) if (hash_ := records[position].content_hash)}
    by_hash: dict[bytes, int] = {}
    if hashed:
        parameters = {"hashes": write_array(hashed), **_sizes(list(hashed.values()))}
        inserted = connection.execute(SQL.insert_hashed_contents, parameters, binary=True).fetchall()
        by_hash = {content_hash: content_id for content_id, content_hash in inserted}
    created = set(by_hash.values())
    if len(by_hash) < len(hashed):
        rest = {"hashes": write_array(hashed.keys() - by_hash.keys())}
        held = connection.execute(SQL.hold_contents, rest, binary=True).fetchall()
        by_hash |= {content_hash: content_id for content_id, content_hash in held}
    if len(by_hash) < len(hashed):
        raise DatabaseConflictError("Contents were removed while they were looked up. Try again.")
    content_ids: dict[int, int] = {}
    new: list[int] = []
    for position in chosen:
        content_hash, image = records[position].content_hash, found.get(position)
        if content_hash is not None:
            content_ids[position] = by_hash[content_hash]
        elif image is not None and image.content_id is not None:
            content_ids[position] = image.content_id
        else:
            new.append(position)
    if new:
        sizes = _sizes([records[position] for position in new])
        rows = connection.execute(SQL.insert_contents, sizes, binary=True).fetchall()
        ids = sorted(content_id for (content_id,) in rows)
        content_ids |= zip(new, ids, strict=True)
        created.update(ids)
    return {position: content_ids[position] for position in chosen}, created


def _sizes(records: Sequence[Record]) -> dict[str, str]:
    return {
        "widths": write_array([record.width for record in records]),
        "heights": write_array([record.height for record in records]),
        "formats": write_array([record.format for record in records]),
    }


def _store_images(
    connection: Connection,
    records: Sequence[Record],
    content_ids: Mapping[int, int],
    found: Mapping[int, _Found],
    model_id: int,
) -> None:
    """Store the images that are new, and change those that are there."""
    with connection.cursor().copy(SQL.copy_images) as copy:
        for position, content_id in content_ids.items():
            if position not in found:
                record = records[position]
                copy.write_row((record.collection, record.uri, record.key, record.metadata or "{}", content_id))
    old = [position for position in content_ids if position in found]
    if not old:
        return
    parameters = {
        "image_ids": write_array([found[position].image_id for position in old]),
        "content_ids": write_array([content_ids[position] for position in old]),
        "keys": write_array([records[position].key for position in old]),
        "metadata": write_array([records[position].metadata or "{}" for position in old]),
    }
    connection.execute(SQL.update_images, parameters)
    changed = [
        found[position].image_id for position in old if found[position].content_id not in {None, content_ids[position]}
    ]
    if changed:
        queued = connection.execute(
            SQL.requeue_other_models, {"image_ids": write_array(changed), "model_id": model_id}
        ).fetchall()
        for (other_id,) in set(queued):
            notify_workers(connection, other_id)


def _copy_vectors(
    connection: Connection, model_id: int, rows: Mapping[int, int], embeddings: NDArray[np.float16]
) -> None:
    """Send the vectors of contents (content_id: position), in the order of content_id."""
    if not rows:
        return
    content_ids = sorted(rows)
    packed = pack_embeddings(model_id, content_ids, embeddings[[rows[content_id] for content_id in content_ids]])
    with connection.cursor().copy(SQL.copy_vectors) as copy:
        copy.write(packed)


def read_vectors(
    connection: Connection, model_id: int, *, collection: str | None = None, page_rows: int = 5000
) -> Iterator[tuple[list[ExportedRow], NDArray[np.float16]]]:
    """Read the images that have a vector under a model, with it: pages of N images and (N, D) float16 vectors.

    All pages are of one moment, in the order of `image_id`.

    Args:
        connection: At the beginning of a transaction.
        model_id: The model.
        collection: Only images of this one.
        page_rows: Most images of a page.
    """
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.execute(SQL.prefer_lookups)
    after_image_id = 0
    while True:
        parameters = {"after_image_id": after_image_id, "collection": collection, "limit": page_rows}
        images = [ExportedRow(*row) for row in connection.execute(SQL.list_images, parameters, binary=True).fetchall()]
        if not images:
            return
        after_image_id = images[-1].image_id
        ids = {"model_id": model_id, "content_ids": write_array({image.content_id for image in images})}
        found = connection.execute(SQL.get_vectors, ids, binary=True).fetchall()
        vectors: dict[int, bytes] = {content_id: packed for content_id, packed in found}  # noqa: C416  # rows aren't pairs
        rows = [image for image in images if image.content_id in vectors]
        if rows:
            yield rows, unpack_embeddings([vectors[image.content_id] for image in rows])
