"""Holds the plans that searches are fast by, on a table too large to be searched exactly."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from siglip_ingest import search
from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.items import SQL
from siglip_ingest.db.search import SearchOptions
from tests.conftest import Services, replace_database
from tests.database.helpers import INFO, add_model, add_worker, unit_vectors

COUNT = 12_000
LARGE = dataclasses.replace(INFO, dimension=384)
# Vectors lie in heaps, and within a heap in few dimensions, as those of images do.
HEAPS = unit_vectors(50, LARGE.dimension, seed=1)
SPREAD = unit_vectors(12, LARGE.dimension, seed=2)
VECTORS = HEAPS[np.arange(COUNT) % 50] + unit_vectors(COUNT, 12, seed=3) @ SPREAD
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
# The tenth that is least like the first vector: HNSW, which begins at what is like it, doesn't come that far.
FAR = np.sort(np.argsort(VECTORS @ VECTORS[0])[: COUNT // 10])


@pytest.fixture(scope="module")
def database(services: Services, _template: str) -> Iterator[Database]:
    """12,000 images under model 1, and a few under model 2.

    Their metadata: `tenth` is n // 50 % 10, `rare` is there for 1 in 1,000, `far` for those of `FAR`.
    """
    name = f"siglip_plans_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(_template)))
    with Database(replace_database(services.database_url, name)) as database:
        _fill(database)
        yield database
    with psycopg.connect(services.database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _fill(database: Database) -> None:
    with database.connection() as connection:
        model_id = add_model(connection, LARGE)
        other_id = add_model(connection, dataclasses.replace(INFO, name="other", dimension=8), is_active=False)
        index = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname LIKE 'image_embeddings_1_%hnsw%'"
        ).fetchone()
        assert index is not None
        connection.execute("DROP INDEX siglip.image_embeddings_1_embedding_hnsw_idx")
        connection.execute(
            """
            INSERT INTO siglip.images (collection, uri, content_hash, metadata)
            SELECT CASE WHEN mod(n, 600) = 0 THEN 'small' ELSE 'large' END, 'file:///' || n, sha256(n::text::bytea),
                   jsonb_build_object('n', n, 'tenth', mod(n / 50, 10))
                   || CASE WHEN mod(n, 1000) = 0 THEN '{"rare": true}' ELSE '{}' END::jsonb
                   || CASE WHEN n = ANY (%s) THEN '{"far": true}' ELSE '{}' END::jsonb
            FROM generate_series(0, %s) AS n
            """,
            [FAR.tolist(), COUNT - 1],
        )
        connection.execute("CREATE TEMPORARY TABLE vectors (n integer, embedding text) ON COMMIT DROP")
        with connection.cursor().copy("COPY vectors FROM STDIN") as copy:
            for n, vector in enumerate(VECTORS):
                copy.write_row((n, half_vector(vector).to_text()))
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT %s, sha256(n::text::bytea), embedding::halfvec FROM vectors",
            [model_id],
        )
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT %s, sha256(n::text::bytea), '[1,0,0,0,0,0,0,0]' FROM vectors "
            "LIMIT 50",
            [other_id],
        )
        connection.execute(str(index[0]).encode())
        connection.execute("ANALYZE siglip.images")
        connection.execute("ANALYZE siglip.image_embeddings")


def _explain(
    connection: Connection, *, collection: str | None = None, where: str | None = None, limit: int = 10
) -> dict[str, Any]:
    """The plan of what siglip.nearest_images executes, with its settings."""
    row = connection.execute(
        "SELECT siglip.nearest_images_query(1, %s, false, %s, %s)",
        [LARGE.dimension, collection is not None, where is not None],
    ).fetchone()
    assert row is not None
    connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
    connection.execute(f"SET LOCAL hnsw.ef_search = {max(100, 2 * limit)}".encode())
    connection.execute(f"PREPARE nearest (halfvec, integer, bigint, float8, float8, text, jsonb) AS {row[0]}".encode())
    values = [half_vector(VECTORS[0]).to_text(), limit, None, 0, 0, collection, where]
    call = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE nearest ({})").format(
        sql.SQL(", ").join(map(sql.Literal, values))
    )
    plan: Any = connection.execute(call).fetchone()
    connection.execute("DEALLOCATE nearest")
    return dict(plan[0][0]["Plan"])


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def _indexes(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in _nodes(plan) if "Index Name" in node}


def test_an_unfiltered_search_uses_hnsw(database: Database) -> None:
    with database.connection() as connection:
        plan = _explain(connection)
    assert "image_embeddings_1_embedding_hnsw_idx" in _indexes(plan)
    assert not [node for node in _nodes(plan) if node["Node Type"] in {"Sort", "Seq Scan"}]


def test_the_plan_that_a_session_keeps_uses_hnsw(database: Database) -> None:
    with database.connection() as connection:
        row = connection.execute("SELECT prosrc, proconfig FROM pg_proc WHERE proname = 'nearest_images_1'").fetchone()
        assert row is not None
        body = str(row[0]).removeprefix("BEGIN RETURN (").removesuffix("); END")
        for setting in row[1][1:]:  # type: ignore[index]  # all but the search_path
            connection.execute(f"SET LOCAL {setting}".encode())
        connection.execute(f"PREPARE nearest (halfvec, integer, bigint, float8, float8) AS {body}".encode())
        plan: Any = connection.execute(
            sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE nearest ({}, 10, NULL, 0, 0)").format(
                sql.Literal(half_vector(VECTORS[0]).to_text())
            )
        ).fetchone()
        connection.execute("DEALLOCATE nearest")
    nodes = _nodes(plan[0][0]["Plan"])
    assert "image_embeddings_1_embedding_hnsw_idx" in _indexes(plan[0][0]["Plan"])
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan"]
    assert max(node["Actual Rows"] for node in nodes) <= 11  # the last one's equals are looked for


def test_a_search_touches_no_partition_but_its_model_s(database: Database) -> None:
    with database.connection() as connection:
        relations = {node.get("Relation Name") for node in _nodes(_explain(connection))}
    assert relations == {None, "images", "image_embeddings_1"}


def test_a_filter_that_a_tenth_passes_is_applied_in_the_iterative_scan(database: Database) -> None:
    with database.connection() as connection:
        plan = _explain(connection, where='{"tenth": 3}')
    assert "image_embeddings_1_embedding_hnsw_idx" in _indexes(plan)
    assert plan["Actual Rows"] == 10


def test_a_filter_that_few_pass_is_looked_up_and_sorted_exactly(database: Database) -> None:
    with database.connection() as connection:
        plan = _explain(connection, where='{"rare": true}')
    assert "images_metadata_gin_idx" in _indexes(plan)
    assert "image_embeddings_1_embedding_hnsw_idx" not in _indexes(plan)
    assert plan["Actual Rows"] == 10


def test_a_small_collection_is_looked_up_and_sorted_exactly(database: Database) -> None:
    with database.connection() as connection:
        plan = _explain(connection, collection="small")
    assert "image_embeddings_1_embedding_hnsw_idx" not in _indexes(plan)
    assert not [node for node in _nodes(plan) if node["Node Type"] == "Seq Scan"]


@pytest.mark.parametrize("limit", [1, 10, 100, 1_200])
def test_a_search_under_a_filter_returns_as_many_rows_as_asked(database: Database, limit: int) -> None:
    matches = search.search_by_embedding(database, VECTORS[0], SearchOptions(limit=limit, filter={"tenth": 3}))
    assert len(matches) == limit
    similarities = [match.similarity for match in matches]
    assert similarities == sorted(similarities, reverse=True)


def test_a_search_returns_ten_thousand_rows_if_asked(database: Database) -> None:
    matches = search.search_by_embedding(database, VECTORS[0], SearchOptions(limit=10_000))
    assert len({match.image_id for match in matches}) == 10_000
    similarities = [match.similarity for match in matches]
    assert similarities == sorted(similarities, reverse=True)


def test_rows_that_the_graph_does_not_reach_are_found_by_an_exact_search(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("SELECT '[1]'::halfvec")
        connection.execute("SET LOCAL hnsw.max_scan_tuples = 1")
        plan = _explain(connection, where='{"far": true}', limit=60)
        assert "image_embeddings_1_embedding_hnsw_idx" in _indexes(plan)
        assert plan["Actual Rows"] < 60
        rows: Any = connection.execute(
            """SELECT metadata FROM siglip.search_images(%s::text::halfvec, 60, filter => '{"far": true}')""",
            [half_vector(VECTORS[0]).to_text()],
        ).fetchall()
    similarities = VECTORS[FAR] @ VECTORS[0]
    expected = FAR[np.argsort(-similarities)[:60]]
    assert len(rows) == 60
    assert len({row[0]["n"] for row in rows} & set(expected.tolist())) > 57  # half precision may swap the last ones


def test_hnsw_finds_nearly_what_an_exact_search_finds(database: Database) -> None:
    queries = HEAPS[:20] + unit_vectors(20, 12, seed=4) @ SPREAD
    found = exact = 0
    for query in queries:
        matches = search.search_by_embedding(database, query, SearchOptions(limit=10))
        best = set(np.argsort(-(VECTORS @ query))[:10].tolist())
        found += len(best & {match.metadata["n"] for match in matches})
        exact += 10
    assert found >= 0.9 * exact


def test_label_scores_touch_no_partition_but_the_active_model_s(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES ('heaps', '{label}')")
        connection.execute(
            "INSERT INTO siglip.labels (label_set_id, position, label, prompts) VALUES (1, 0, 'first', '{first}')"
        )
        connection.execute(
            "INSERT INTO siglip.label_embeddings SELECT 1, label_id, %s FROM siglip.labels",
            [half_vector(HEAPS[0]).to_text()],
        )
        connection.execute("ANALYZE siglip.label_embeddings")
        plan: Any = connection.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT image_id FROM siglip.label_scores WHERE label = 'first' AND score "
            "> 0.5"
        ).fetchone()
        scanned = {node.get("Relation Name") for node in _nodes(plan[0][0]["Plan"]) if node.get("Actual Loops")}
        one: Any = connection.execute(
            "EXPLAIN (ANALYZE, FORMAT JSON) SELECT * FROM siglip.label_scores WHERE image_id = 5 AND label_set = "
            "'heaps'"
        ).fetchone()
    assert "image_embeddings_1" in scanned
    assert "image_embeddings_2" not in scanned
    touched = [node for node in _nodes(one[0][0]["Plan"]) if node.get("Actual Loops") and "Relation Name" in node]
    assert not [node for node in touched if node["Node Type"] == "Seq Scan" and "image" in node["Relation Name"]]


def test_the_score_is_computed_in_place(database: Database) -> None:
    """A call of the function for each row takes three times as long as the expression."""
    with database.connection() as connection:
        plan = connection.execute("EXPLAIN (VERBOSE) SELECT * FROM siglip.label_scores WHERE score > 0.5").fetchall()
    assert not [line for (line,) in plan if "siglip.score(" in str(line)]


def test_a_claim_reads_the_index_of_queued_items(database: Database) -> None:
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.ingest_items (image_id, model_id, state) SELECT image_id, 1, CASE WHEN image_id % 10 "
            "= 0 THEN 'queued' ELSE 'done' END FROM siglip.images"
        )
        connection.execute("ANALYZE siglip.ingest_items")
        parameters = {
            "worker_id": add_worker(connection, 1),
            "model_id": 1,
            "limit": 64,
            "lease_token": uuid.uuid4(),
            "takes_suspects": True,
        }
        plan: Any = connection.execute(b"EXPLAIN (FORMAT JSON) " + SQL.claim_items, parameters).fetchone()
    nodes = _nodes(plan[0][0]["Plan"])
    assert "ingest_items_queued_btree_idx" in {node.get("Index Name") for node in nodes}
    assert not [
        node
        for node in nodes
        if node["Node Type"] in {"Seq Scan", "Sort"} and node.get("Relation Name") == "ingest_items"
    ]
