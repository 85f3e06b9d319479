"""What the tests of recall share: many vectors at once, small segments with an index, and a search that misses some."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import Connection
from siglip_ingest.types import ModelInfo
from tests.database.helpers import add_model, unit_vectors

DIMENSION = 64
INFO = ModelInfo(name="wide", revision="sha256:2", dimension=DIMENSION, logit_scale=2.3, logit_bias=-2.0)


def add_wide_model(connection: Connection) -> int:
    """An active model of 64 elements, whose segments get an index from 64 KiB on."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION siglip.exact_below_bytes() RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 65536"
    )
    return add_model(connection, INFO)


def clustered_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    """Unit vectors with near and far neighbours, as those of images have."""
    rng = np.random.default_rng(seed)
    coarse, fine = unit_vectors(20, DIMENSION, seed=1000), unit_vectors(400, DIMENSION, seed=1001)
    leaves = rng.integers(0, 400, count)
    vectors = coarse[leaves % 20] + 0.7 * fine[leaves] + 0.5 * rng.normal(size=(count, DIMENSION)) / np.sqrt(DIMENSION)
    normalized: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalized


def load_vectors(
    connection: Connection, model_id: int, vectors: NDArray[np.float32], metadata: Sequence[Any] | None = None
) -> list[int]:
    """Store one image and one content a vector; returns the image_ids in the same order."""
    texts = ["[" + ",".join(f"{x:.5f}" for x in vector) + "]" for vector in vectors]
    documents = [json.dumps({} if metadata is None else metadata[n]) for n in range(len(vectors))]
    rows = connection.execute(
        """
        WITH given AS (
            SELECT g.embedding, g.metadata,
                   nextval(pg_get_serial_sequence('siglip.contents', 'content_id')) AS content_id
            FROM unnest(%(texts)s::text[], %(documents)s::text[]) AS g (embedding, metadata)
        ), contents AS (
            INSERT INTO siglip.contents (content_id) OVERRIDING SYSTEM VALUE SELECT g.content_id FROM given AS g
        ), embeddings AS (
            INSERT INTO siglip.image_embeddings (model_id, content_id, embedding)
            SELECT %(model_id)s, g.content_id, g.embedding::halfvec FROM given AS g
        )
        INSERT INTO siglip.images (collection, uri, content_id, metadata)
        SELECT 'default', 'file:///' || g.content_id, g.content_id, g.metadata::jsonb FROM given AS g
        RETURNING image_id
        """,
        {"texts": texts, "documents": documents, "model_id": model_id},
    ).fetchall()
    return [row[0] for row in rows]


def store_texts(connection: Connection, model_id: int, vectors: NDArray[np.float32]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO siglip.texts (model_id, query, embedding) VALUES (%s, %s, %s::real[]::halfvec)",
            [(model_id, f"text {n}", [float(x) for x in vector]) for n, vector in enumerate(vectors)],
        )


def maintain(connection: Connection, *, is_full: bool = False) -> list[str]:
    """Do all that there is to do; returns the sentences."""
    steps = []
    while True:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute("SELECT siglip.maintain(is_full => %s)", [is_full]).fetchone()
        connection.commit()
        if row is None or row[0] is None:
            return steps
        steps.append(str(row[0]))


def break_search(connection: Connection, condition: str = "true", *, fills_up: bool = True) -> None:
    """Have searches miss the best image where a condition on `model` holds: a recall of 0.9 of ten.

    With `fills_up` the eleventh comes too, which counts as found where it is as near as the tenth; without, none does.
    """
    most = "max_results + 1" if fills_up else "max_results"
    connection.execute(
        f"""
        CREATE OR REPLACE FUNCTION siglip.nearest_images(
            model siglip.models, query_embedding halfvec, max_results integer,
            collection text, filter jsonb, min_score double precision, excluded_image_id bigint,
            image_ids bigint[] DEFAULT NULL, skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL
        ) RETURNS SETOF siglip.image_match LANGUAGE sql STABLE AS $$
            SELECT m.* FROM unnest(siglip.exact_images(
                model, query_embedding, {most}, excluded_image_id, collection, filter, image_ids, after)) AS m
            ORDER BY m.similarity DESC, m.image_id
            OFFSET CASE WHEN {condition} THEN 1 ELSE 0 END LIMIT max_results
        $$
        """.encode()
    )


def recall_of(found: Sequence[int], image_ids: Sequence[int], vectors: NDArray[np.float32], query: Any) -> float:
    """Share of the ten nearest, as numpy has them, that a search found; equal similarities count."""
    similarities = vectors.astype(np.float16).astype(np.float32) @ np.asarray(query, np.float16).astype(np.float32)
    worst = np.sort(similarities)[-10]
    positions = {image_id: n for n, image_id in enumerate(image_ids)}
    return sum(similarities[positions[image_id]] >= worst - 1e-3 for image_id in found if image_id in positions) / 10
