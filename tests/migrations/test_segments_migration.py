"""Revision 0006 and the way back: what was filled at 0003 keeps every vector, and searches find the same."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.types.numeric import Int4

from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.schema import migrate
from siglip_migrations import dump
from tests.database.helpers import content_hash, unit_vectors

Connection = psycopg.Connection[tuple[Any, ...]]
Vectors = dict[tuple[int, bytes], bytes]  # the vector's bytes, by model and content
Found = dict[tuple[int, int], list[tuple[int, float]]]  # images and similarities, by model and query

LARGE, SMALL = 1, 2  # models: of the first there are more than 8 MB of vectors, which need an index
DIMENSIONS = {LARGE: 1024, SMALL: 16}
CONTENTS = {LARGE: 3_300, SMALL: 300}
SHARED = 100  # contents that three images have
QUERIES = 5


@dataclass(frozen=True)
class Filled:
    """What a database at 0003 had."""

    url: str
    page: list[str]  # its schema at 0005, on the way up
    vectors: Vectors
    found: Found
    images: list[tuple[Any, ...]]


def _vectors(model_id: int) -> Any:
    """Unit vectors that lie in few dimensions, as those of images do."""
    dimension = DIMENSIONS[model_id]
    spread = unit_vectors(6, dimension, seed=100 + model_id)
    vectors = unit_vectors(1, dimension, seed=model_id) + unit_vectors(CONTENTS[model_id], 6, seed=model_id) @ spread
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _fill(connection: Connection) -> None:
    for model_id, dimension in DIMENSIONS.items():
        connection.execute(
            "INSERT INTO siglip.models (name, dimension, logit_scale, logit_bias, is_active, described_at)"
            " VALUES (%s, %s, %s, -2, %s, now())",
            [f"model {model_id}", dimension, math.log(10), model_id == LARGE],
        )
        connection.execute("SELECT siglip.create_embedding_partition(%s, %s)", [model_id, dimension])
        index = f"siglip.image_embeddings_{model_id}_embedding_hnsw_idx"
        row = connection.execute("SELECT pg_get_indexdef(%s::regclass)", [index]).fetchone()
        assert row is not None
        connection.execute(f"DROP INDEX {index}".encode())
        register_vector(connection)
        statement = "COPY siglip.image_embeddings (model_id, content_hash, embedding) FROM STDIN (FORMAT binary)"
        with connection.cursor().copy(statement) as copy:
            for n, vector in enumerate(_vectors(model_id)):
                copy.write_row((Int4(model_id), content_hash(n), half_vector(vector)))
        connection.execute(row[0].encode())
    rows: list[tuple[object, ...]] = [
        ("default", f"file:///{n}", content_hash(n), 640, 480, "JPEG") for n in range(1, CONTENTS[LARGE])
    ]
    rows += [
        (collection, f"file:///{n}", content_hash(n), 640, 480, "JPEG") for n in range(1, SHARED) for collection in "ab"
    ]
    # Without a vector: one that was never embedded, and one whose vector was removed. Content 0 has a vector, no image.
    rows += [("default", "file:///new", None, None, None, None), ("default", "x", content_hash("x"), 8, 9, "PNG")]
    connection.cursor().executemany(
        "INSERT INTO siglip.images (collection, uri, content_hash, width, height, format)"
        " VALUES (%s, %s, %s, %s, %s, %s)",
        rows,
    )
    connection.execute("UPDATE siglip.images SET metadata = jsonb_build_object('n', image_id), key = 'k' || image_id")


def _search(connection: Connection, *, is_exact: bool = False) -> Found:
    """The best images of each model for some queries, without those that share the last place."""
    found: Found = {}
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT set_config('enable_indexscan', %s, true)", ["off" if is_exact else "on"])
        for model_id in DIMENSIONS:
            connection.execute("UPDATE siglip.models SET is_active = false")
            connection.execute("UPDATE siglip.models SET is_active = true WHERE model_id = %s", [model_id])
            for n in range(QUERIES):
                query = half_vector(_vectors(model_id)[7 * n]).to_text()
                rows = connection.execute(
                    "SELECT image_id, similarity FROM siglip.search_images(%s::text::halfvec, 30)", [query]
                ).fetchall()
                assert len(rows) == 30
                found[model_id, n] = [
                    (image_id, similarity) for image_id, similarity in rows if similarity > rows[-1][1]
                ]
    return found


def _vectors_by_hash(connection: Connection) -> Vectors:
    rows = connection.execute(
        "SELECT model_id, content_hash, halfvec_send(embedding) FROM siglip.image_embeddings"
    ).fetchall()
    assert len(rows) == sum(CONTENTS.values())
    return {(model_id, bytes(digest)): bytes(vector) for model_id, digest, vector in rows}


def _images(connection: Connection, source: str) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT image_id, collection, uri, key, metadata, content_hash, width, height, format, i.created_at, updated_at"
        f" FROM {source} ORDER BY image_id".encode()
    ).fetchall()


@pytest.fixture
def filled(empty_database_url: str) -> Filled:
    """A database at 0005 that was filled at 0003."""
    migrate(empty_database_url, "0003")
    with psycopg.connect(empty_database_url) as connection:
        _fill(connection)
    with psycopg.connect(empty_database_url) as connection:
        found = _search(connection, is_exact=True)
        vectors, images = _vectors_by_hash(connection), _images(connection, "siglip.images AS i")
    migrate(empty_database_url, "0005")
    return Filled(empty_database_url, _lines(empty_database_url), vectors, found, images)


def test_a_filled_database_keeps_its_vectors_and_answers_up_and_down(filled: Filled) -> None:
    migrate(filled.url)
    with psycopg.connect(filled.url) as connection:
        _check_vectors(connection, filled)
        _check_segments(connection)
        assert (
            _images(connection, "siglip.images AS i LEFT JOIN siglip.contents AS c USING (content_id)") == filled.images
        )
        assert _search(connection) == filled.found
        _check_orphan(connection)
    migrate(filled.url, "0005")
    assert _lines(filled.url) == filled.page
    with psycopg.connect(filled.url) as connection:
        assert _vectors_by_hash(connection) == filled.vectors
        assert _images(connection, "siglip.images AS i") == filled.images
        assert _search(connection, is_exact=True) == filled.found
        indexes = connection.execute(
            "SELECT count(*) FROM pg_index WHERE indisvalid AND indexrelid::regclass::text LIKE '%hnsw_idx'"
        ).fetchone()
    assert indexes == (len(DIMENSIONS),)


def test_who_might_search_before_may_search_after(filled: Filled) -> None:
    role = sql.Identifier(f"siglip_reader_{uuid.uuid4().hex[:8]}")
    with psycopg.connect(filled.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(role))
            connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(role))
            connection.execute(sql.SQL("GRANT DELETE ON siglip.images TO {}").format(role))
            migrate(filled.url)
            connection.execute(sql.SQL("SET ROLE {}").format(role))
            assert len(connection.execute("SELECT * FROM siglip.similar_images(5)").fetchall()) == 10
            for view in ("label_scores", "label_rules", "index_status", "index_settings", "servers", "recall_drift"):
                connection.execute(f"SELECT FROM siglip.{view} LIMIT 1".encode())
            connection.execute("DELETE FROM siglip.images WHERE image_id = 5")
        finally:
            connection.execute("RESET ROLE")
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def test_going_down_drops_what_the_older_schema_can_t_hold_and_nothing_else(filled: Filled) -> None:
    migrate(filled.url)
    with psycopg.connect(filled.url) as connection:
        connection.execute(
            "WITH a AS (INSERT INTO siglip.contents (content_hash) VALUES (NULL) RETURNING content_id)"
            " INSERT INTO siglip.image_embeddings SELECT 2, content_id, %s::text::halfvec FROM a",
            [half_vector(_vectors(SMALL)[0]).to_text()],
        )
        connection.execute(
            "INSERT INTO siglip.models (name, is_external, dimension, described_at)"
            " VALUES ('elsewhere', true, 3, now())"
        )
        connection.execute("SELECT siglip.create_embedding_partition(3, 3)")
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT 3, min(content_id), '[1,0,0]' FROM siglip.contents"
        )
    migrate(filled.url, "0005")
    with psycopg.connect(filled.url) as connection:
        assert _vectors_by_hash(connection) == filled.vectors
        assert connection.execute("SELECT model_id FROM siglip.models ORDER BY 1").fetchall() == [(LARGE,), (SMALL,)]
    assert _lines(filled.url) == filled.page


def _lines(url: str) -> list[str]:
    """The schema's page in any order: columns that went and came back stand last in their tables."""
    return sorted(line.strip().rstrip(",") for line in dump.dump_schema(url).splitlines())


def _check_vectors(connection: Connection, filled: Filled) -> None:
    rows = connection.execute(
        "SELECT e.model_id, c.content_hash, halfvec_send(e.embedding) FROM siglip.image_embeddings AS e"
        " JOIN siglip.contents AS c USING (content_id)"
    ).fetchall()
    assert len(rows) == len(filled.vectors)
    assert {(model_id, bytes(digest)): bytes(vector) for model_id, digest, vector in rows} == filled.vectors


def _check_segments(connection: Connection) -> None:
    rows = connection.execute(
        "SELECT model_id, state, is_complete, built_rows, index_kind FROM siglip.index_status"
        " ORDER BY model_id, from_content_id NULLS FIRST"
    ).fetchall()
    assert rows == [
        (LARGE, "sealed", True, CONTENTS[LARGE], "halfvec"),
        (LARGE, "open", True, None, None),
        (SMALL, "open", True, None, None),
    ]


def _check_orphan(connection: Connection) -> None:
    """The vector without an image is one that maintenance takes out; what an image has stays."""
    with connection.transaction(force_rollback=True):
        assert connection.execute("SELECT siglip.maintain()").fetchone() == ("Removed 1 contents without an image.",)
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (
            sum(CONTENTS.values()) - 2,
        )
