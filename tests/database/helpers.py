"""What the tests of the database share: a model, vectors, images that are embedded, and a fake embedder."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from siglip_ingest import db
from siglip_ingest.db import Connection, Database, images, items, models, texts, workers
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.models import ModelKey
from siglip_ingest.types import ImageFailure, ModelInfo

TOPICS = sorted(file.stem for file in Path(db.__path__[0]).glob("*.sql"))
DIMENSION = 16
INFO = ModelInfo(
    name="fake", revision="sha256:1", dimension=DIMENSION, logit_scale=np.log(10.0).item(), logit_bias=-2.0
)


class FakeEmbedder:
    """A text's or an image's hash, turned into a unit vector."""

    def __init__(self, info: ModelInfo = INFO) -> None:
        self.info = info
        self.calls = 0

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.calls += 1
        return np.stack([text_vector(text, self.info.dimension) for text in texts])

    def embed_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        self.calls += 1
        return np.stack([text_vector(str(image), self.info.dimension) for image in images])


class NamedEmbedder(FakeEmbedder):
    """Two models give one text, or one image, different vectors."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return super().embed_texts([f"{self.info.name}: {text}" for text in texts])

    def embed_images(self, images: Sequence[Any]) -> NDArray[np.float32]:
        return self.embed_texts([str(image) for image in images])


def make_named(model: ModelKey) -> NamedEmbedder:
    return NamedEmbedder(dataclasses.replace(INFO, name=model.name, revision=model.revision))


def text_vector(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return unit_vectors(1, dimension, seed)[0]


def unit_vectors(count: int, dimension: int = DIMENSION, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    normalized: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalized


def add_model(connection: Connection, info: ModelInfo = INFO, *, is_active: bool = True) -> int:
    model_id = models.register_model(connection, info.name, info.revision)
    models.describe_model(connection, model_id, info)
    if is_active:
        models.activate_model(connection, model_id)
    return model_id


def image_rows(count: int, *, collection: str = "default", **fields: Any) -> list[images.ImageRow]:
    return [images.ImageRow(collection=collection, uri=f"file:///{n:05}.jpg", **fields) for n in range(count)]


def content_hash(content: object) -> bytes:
    return hashlib.sha256(str(content).encode()).digest()


NO_TOKEN = UUID(int=0)  # until `close_claim` knows better


@dataclass(frozen=True)
class Chunk:
    """What one claim got: items under one lease."""

    lease_token: UUID
    items: list[items.ItemRow]


def completed(
    item: items.ItemRow, embedding: NDArray[np.float32] | None, content: object = None
) -> items.CompletedItem:
    return items.CompletedItem(
        item_id=item.item_id,
        image_id=item.image_id,
        lease_token=NO_TOKEN,
        content_hash=content_hash(item.uri if content is None else content),
        width=640,
        height=480,
        format="JPEG",
        embedding=embedding,
    )


def add_worker(connection: Connection, model_id: int, *, lease_s: float = 60) -> UUID:
    """A worker that lives for `lease_s` seconds, if it isn't renewed."""
    worker_id = uuid4()
    workers.renew_worker(connection, worker_id, model_id, node="test@host", lease_s=lease_s)
    return worker_id


def failure(item: items.ItemRow, code: str, message: str, pause_s: float | None = None) -> items.FailedItem:
    return items.FailedItem(item.item_id, NO_TOKEN, code, message, pause_s)


def claim(connection: Connection, model_id: int, limit: int = 100, *, worker_id: UUID | None = None) -> Chunk:
    """Claim as a worker, by default a new one."""
    chunk = try_to_claim(connection, model_id, limit, worker_id=worker_id)
    assert chunk is not None
    return chunk


def try_to_claim(
    connection: Connection, model_id: int, limit: int = 100, *, worker_id: UUID | None = None
) -> Chunk | None:
    worker_id, token = worker_id or add_worker(connection, model_id), uuid4()
    claimed = items.claim_items(connection, worker_id, model_id, limit, token)
    return Chunk(token, claimed) if claimed else None


def close_claim(
    connection: Connection,
    model_id: int,
    token: UUID,
    results: Sequence[items.CompletedItem],
    failed: Sequence[items.FailedItem] = (),
    **options: Any,
) -> items.Closed:
    """Close items of one claim."""
    completed = [dataclasses.replace(item, lease_token=token) for item in results]
    failures = [dataclasses.replace(item, lease_token=token) for item in failed]
    return items.close_items(connection, model_id, completed, failures, **options)


def complete(connection: Connection, model_id: int, token: UUID, results: Sequence[items.CompletedItem]) -> int:
    """Close items of a claim as done; returns how many."""
    return close_claim(connection, model_id, token, results).done


def failures_of(connection: Connection, image_ids: Sequence[int]) -> list[ImageFailure]:
    rows: Any = connection.execute(
        "SELECT image_id, uri, error_code, error_message FROM siglip.ingest_items JOIN siglip.images USING (image_id)"
        " WHERE state = 'failed' AND image_id = ANY (%s) ORDER BY image_id",
        [list(image_ids)],
    ).fetchall()
    return [ImageFailure(*row) for row in rows]


def disown_claim(connection: Connection, token: UUID) -> int:
    """Leave one claim to whoever looks for lost ones; returns how many items."""
    row: Any = connection.execute(
        "SELECT worker_id FROM siglip.ingest_items WHERE lease_token = %s", [token]
    ).fetchone()
    return 0 if row is None else items.disown_items(connection, row[0], [token])


def release_claim(connection: Connection, token: UUID) -> int:
    """Hand back the items of one claim; returns how many."""
    held: Any = connection.execute(
        "SELECT worker_id, array_agg(DISTINCT lease_token) FROM siglip.ingest_items WHERE worker_id ="
        " (SELECT DISTINCT worker_id FROM siglip.ingest_items WHERE lease_token = %s) GROUP BY worker_id",
        [token],
    ).fetchone()
    return (
        0 if held is None else items.release_strays(connection, held[0], [known for known in held[1] if known != token])
    )


def store_text(connection: Connection, model_id: int, query: str, info: ModelInfo | None = None) -> None:
    """Put a text with its `text_vector` into the cache."""
    info = info or INFO
    answer = texts.EmbeddedText(query, text_vector(query, info.dimension))
    texts.store_texts(connection, model_id, info, [answer])


def add_pets(connection: Connection) -> list[int]:
    """Store the label set `pets` with the one label `cat`, without vectors; returns its `label_id`."""
    connection.execute("SELECT siglip.create_label_set('pets', '{cat}', template => '{label}')")
    return [label_id for (label_id,) in connection.execute("SELECT label_id FROM siglip.labels")]  # type: ignore[misc]


def store_embeddings(database: Database, model_id: int, vectors: Mapping[int, NDArray[np.float32]]) -> None:
    """Store vectors of images that are there, by image_id."""
    with database.connection() as connection:
        for image_id, vector in vectors.items():
            connection.execute(
                "INSERT INTO siglip.image_embeddings (model_id, content_id, embedding)"
                " SELECT %s, content_id, %s::text::halfvec FROM siglip.images WHERE image_id = %s",
                [model_id, str(vector.tolist()), image_id],
            )


def make_fake(_: object) -> FakeEmbedder:
    return FakeEmbedder()


def index_images(
    database: Database,
    model_id: int,
    embeddings: Sequence[NDArray[np.float32]] | NDArray[np.float32],
    *,
    collection: str = "default",
    metadata: Sequence[Mapping[str, Any]] | None = None,
    contents: Sequence[object] | None = None,
) -> list[int]:
    """Store and embed one image a vector; returns their ids in the same order."""
    count = len(embeddings)
    rows = [
        images.ImageRow(
            collection=collection,
            uri=f"file:///{collection}/{n:05}.jpg",
            metadata={} if metadata is None else metadata[n],
        )
        for n in range(count)
    ]
    with database.connection() as connection:
        image_ids = images.insert_images(connection, rows, model_id).image_ids
        chunk = claim(connection, model_id, 100_000)  # a new model has older images to embed, too
        positions = {image_id: position for position, image_id in enumerate(image_ids)}
        results = []
        for item in chunk.items:
            if item.image_id not in positions:
                continue
            position = positions[item.image_id]
            content = item.uri if contents is None else contents[position]
            results.append(completed(item, embeddings[position], content))
        assert complete(connection, model_id, chunk.lease_token, results) == count
    return image_ids


def all_statements() -> Iterator[tuple[str, bytes]]:
    """Each statement of the library, with its name: "items.claim_items"."""
    for topic in TOPICS:
        for name, statement in load_statements(topic).items():
            yield f"{topic}.{name}", statement


def states(connection: Connection, model_id: int) -> dict[str, int]:
    rows: list[Any] = connection.execute(
        "SELECT state, count(*) FROM siglip.ingest_items WHERE model_id = %s GROUP BY state", [model_id]
    ).fetchall()
    return dict(rows)
