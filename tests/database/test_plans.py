"""Holds the plans that searches are fast by, on a table too large to be searched exactly."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.types.numeric import Int4, Int8

from siglip_ingest import search
from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.items import SQL
from siglip_ingest.db.search import SearchOptions
from tests.conftest import Services, replace_database
from tests.database.helpers import INFO, add_model, add_worker, unit_vectors

COUNT = 12_000
SEALED = 5_600  # rows of each sealed segment: of 768 elements, they are more than 8 MB
LARGE = dataclasses.replace(INFO, dimension=768)
# Vectors lie in heaps, and within a heap in few dimensions, as those of images do.
HEAPS = unit_vectors(50, LARGE.dimension, seed=1)
SPREAD = unit_vectors(12, LARGE.dimension, seed=2)
VECTORS = HEAPS[np.arange(COUNT) % 50] + unit_vectors(COUNT, 12, seed=3) @ SPREAD
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
# The tenth that is least like the first vector: HNSW, which begins at what is like it, doesn't come that far.
FAR = np.sort(np.argsort(VECTORS @ VECTORS[0])[: COUNT // 10])
PARAMETERS = "halfvec, integer, bigint, float8, float8, text, jsonb, bigint[]"  # of a search, $1 to $8


@dataclass(frozen=True)
class Segments:
    """Names of a model's segments, and of their indexes."""

    sealed: list[str]
    open: str
    graphs: set[str]
    keys: set[str]


@pytest.fixture(scope="module")
def database(services: Services, _template: str) -> Iterator[Database]:
    """12,000 images under model 1, in two sealed segments and the open one, and a few under model 2.

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


@pytest.fixture(scope="module")
def segments(database: Database) -> Segments:
    with database.connection() as connection:
        rows: Any = connection.execute(
            "SELECT c.relname, s.is_open FROM siglip.segments AS s JOIN pg_class AS c ON c.oid = s.segment"
            " WHERE s.model_id = 1 ORDER BY s.from_content_id NULLS FIRST"
        ).fetchall()
    sealed, opened = [name for name, is_open in rows if not is_open], [name for name, is_open in rows if is_open]
    assert len(sealed) == 2
    return Segments(sealed, opened[0], {f"{name}_hnsw_idx" for name in sealed}, {f"{name}_pkey" for name, _ in rows})


def _fill(database: Database) -> None:
    with database.connection() as connection:
        model_id = add_model(connection, LARGE)
        other_id = add_model(connection, dataclasses.replace(INFO, name="other", dimension=8), is_active=False)
        connection.execute(
            "INSERT INTO siglip.contents (content_hash) SELECT NULL FROM generate_series(1, %s)", [COUNT]
        )
        connection.execute(
            """
            INSERT INTO siglip.images (collection, uri, content_id, metadata)
            SELECT CASE WHEN mod(n, 600) = 0 THEN 'small' ELSE 'large' END, 'file:///' || n, n + 1,
                   jsonb_build_object('n', n, 'tenth', mod(n / 50, 10))
                   || CASE WHEN mod(n, 1000) = 0 THEN '{"rare": true}' ELSE '{}' END::jsonb
                   || CASE WHEN n = ANY (%s) THEN '{"far": true}' ELSE '{}' END::jsonb
            FROM generate_series(0, %s) AS n
            """,
            [FAR.tolist(), COUNT - 1],
        )
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT %s, n, '[1,0,0,0,0,0,0,0]' FROM generate_series(1, 50) AS n",
            [other_id],
        )
    for first in range(0, COUNT, SEALED):
        with database.connection() as connection:
            statement = "COPY siglip.image_embeddings FROM STDIN (FORMAT binary)"
            with connection.cursor().copy(statement) as copy:
                for n in range(first, min(first + SEALED, COUNT)):
                    copy.write_row((Int4(model_id), Int8(n + 1), half_vector(VECTORS[n])))
        if first + SEALED <= COUNT:
            with database.connection() as connection:
                connection.execute("SELECT siglip.close_segment(%s)", [model_id])
                connection.execute(
                    "SELECT siglip.rebuild_segments(ARRAY[s.segment]) FROM siglip.segments AS s"
                    " WHERE s.model_id = %s AND NOT s.is_open AND s.index IS NULL",
                    [model_id],
                )
    with database.connection() as connection:
        connection.execute("ANALYZE siglip.images")
        connection.execute("ANALYZE siglip.image_embeddings")


def _explain_graph(
    connection: Connection, *, collection: str | None = None, where: str | None = None, limit: int = 10
) -> dict[str, Any]:
    """The plan that a session keeps of siglip.nearest_images_1, with that function's settings."""
    row: Any = connection.execute("SELECT prosrc, proconfig FROM pg_proc WHERE proname = 'nearest_images_1'").fetchone()
    # The first query of a model without segments on other servers.
    body = str(row[0]).partition(" THEN matches := (")[2].partition("); IF (matches[")[0]
    _set_as_in_search(connection, limit, row[1])
    return _explain(connection, body, PARAMETERS, [limit, None, 0, 0, collection, where, None])


def _set_as_in_search(connection: Connection, limit: int, settings: Sequence[str]) -> None:
    connection.execute("SET LOCAL hnsw.iterative_scan = relaxed_order")
    connection.execute(f"SET LOCAL hnsw.ef_search = {max(100, 2 * limit)}".encode())
    for setting in settings[1:]:  # all but the search_path
        connection.execute(f"SET LOCAL {setting}".encode())


def _explain_exact(connection: Connection, content_ids: Sequence[int], limit: int = 10) -> dict[str, Any]:
    """The plan of what siglip.exact_images executes for the contents that pass a filter."""
    query: Any = connection.execute(
        "SELECT siglip.exact_query(1, siglip.image_conditions(false, true, false), true, false)"
    ).fetchone()
    connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    values = [limit, None, 0, 0, None, "{}", None, list(content_ids), None]
    return _explain(connection, query[0], f"{PARAMETERS}, bigint[], siglip.search_position", values)


def _explain(connection: Connection, query: str, types: str, values: Sequence[object]) -> dict[str, Any]:
    connection.execute(f"PREPARE asked ({types}) AS {query}".encode())
    literals = map(sql.Literal, [half_vector(VECTORS[0]).to_text(), *values])
    call = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE asked ({})").format(sql.SQL(", ").join(literals))
    plan: Any = connection.execute(call).fetchone()
    connection.execute("DEALLOCATE asked")
    return dict(plan[0][0]["Plan"])


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def _indexes(plan: dict[str, Any]) -> set[str]:
    return {node["Index Name"] for node in _nodes(plan) if "Index Name" in node}


@contextmanager
def _counted_scans(connection: Connection) -> Iterator[dict[str, int]]:
    """How often the statements of the block scan each table and index of model 1's segments; complete at its end."""
    scans: dict[str, int] = {}
    connection.execute("SET LOCAL max_parallel_workers_per_gather = 0")  # others count for themselves
    before = _count_scans(connection)
    yield scans
    scans.update(
        {name: count - before[name] for name, count in _count_scans(connection).items() if count > before[name]}
    )


def _count_scans(connection: Connection) -> dict[str, int]:
    rows: Any = connection.execute(
        "SELECT relname, pg_stat_get_xact_numscans(oid) FROM pg_class WHERE relname ~ '^image_embeddings_1_'"
    ).fetchall()
    return dict(rows)


def _ask(connection: Connection, arguments: str) -> list[Any]:
    """Rows of siglip.search_images for the first vector."""
    query = f"SELECT * FROM siglip.search_images(%s::text::halfvec, {arguments})"
    return connection.execute(query.encode(), [half_vector(VECTORS[0]).to_text()]).fetchall()


def _create_label_set(connection: Connection, name: str, count: int = 1) -> None:
    """Labels "0", "1", ... whose vectors are those of the heaps."""
    connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES (%s, '{label}')", [name])
    for n in range(count):
        connection.execute(
            "WITH added AS (INSERT INTO siglip.labels (label_set_id, position, label, prompts)"
            " SELECT label_set_id, %s, %s, '{prompt}' FROM siglip.label_sets WHERE name = %s RETURNING label_id)"
            " INSERT INTO siglip.label_embeddings SELECT 1, label_id, %s FROM added",
            [n, str(n), name, half_vector(HEAPS[n]).to_text()],
        )


def _pretend_rows(connection: Connection, segments: Segments, count: int) -> None:
    """Write an estimate of the rows into the catalogue: for so few as there are the graph isn't worth it."""
    connection.execute("UPDATE pg_class SET reltuples = %s WHERE relname = ANY (%s)", [count, segments.sealed])


def _score_of_nearest(count: int) -> float:
    """The score that so many images reach for the first label."""
    similarities = np.sort(VECTORS @ HEAPS[0])[::-1]
    logit = np.exp(INFO.logit_scale) * similarities[count - 1 : count + 1].mean() + INFO.logit_bias
    return float(1 / (1 + np.exp(-logit)))


def test_the_graph_query_merges_hnsw_scans_and_sorts_only_the_open_segment(
    database: Database, segments: Segments
) -> None:
    with database.connection() as connection:
        plan = _explain_graph(connection)
    nodes = _nodes(plan)
    (merge,) = (node for node in nodes if node["Node Type"] == "Merge Append")
    by_relation = {scan["Relation Name"]: child for child in merge["Plans"] for scan in _nodes(child)[-1:]}
    assert set(by_relation) == {*segments.sealed, segments.open}
    assert {by_relation[name]["Node Type"] for name in segments.sealed} == {"Index Scan"}
    assert segments.graphs <= _indexes(plan)
    assert by_relation[segments.open]["Node Type"] == "Sort"
    sorts = [node for node in nodes if node["Node Type"] in {"Sort", "Incremental Sort"}]
    # The other one puts the rows that were found in the order of similarity and id.
    assert [node["Actual Rows"] for node in sorts if node is not by_relation[segments.open]] == [10]
    assert {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} <= {segments.open}


def test_the_second_walk_begins_in_two_places_of_each_graph(database: Database, segments: Segments) -> None:
    with database.connection() as connection:
        row: Any = connection.execute(
            "SELECT siglip.second_graph_query(1, 768), proconfig FROM pg_proc WHERE proname = 'nearest_images_1'"
        ).fetchone()
        _set_as_in_search(connection, 10, row[1])
        values = [10, None, 0, 0, None, None, None, half_vector(VECTORS[1]).to_text()]
        plan = _explain(connection, row[0], f"{PARAMETERS}, halfvec", values)
    nodes = _nodes(plan)
    assert len([node for node in nodes if node.get("Index Name") in segments.graphs]) == 2 * len(segments.sealed)
    assert {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} <= {segments.open}


def test_the_graph_query_reads_no_more_rows_than_it_returns(database: Database, segments: Segments) -> None:
    with database.connection() as connection:
        nodes = _nodes(_explain_graph(connection))
    read = [node["Actual Rows"] * node["Actual Loops"] for node in nodes if node.get("Relation Name") != segments.open]
    assert max(read) <= 12  # a merge reads one row of each segment ahead; the last one's equals are looked for


def test_a_search_touches_no_partition_but_its_model_s(database: Database, segments: Segments) -> None:
    with database.connection() as connection:
        relations = {node.get("Relation Name") for node in _nodes(_explain_graph(connection))}
        exact = {node.get("Relation Name") for node in _nodes(_explain_exact(connection, [1, 2, 3]))}
    assert relations == {None, "images", *segments.sealed, segments.open}
    assert exact <= relations


def test_a_filter_that_a_tenth_passes_is_applied_to_what_the_graph_gives(
    database: Database, segments: Segments
) -> None:
    with database.connection() as connection:
        plan = _explain_graph(connection, where='{"tenth": 3}', limit=30)
        assert segments.graphs <= _indexes(plan)
        assert "images_content_id_btree_idx" in _indexes(plan)
        assert plan["Plans"][0]["Plans"][-1]["Node Type"] != "Seq Scan"
    with database.connection() as connection, _counted_scans(connection) as scans:
        assert len(_ask(connection, """filter => '{"tenth": 3}'""")) == 10
    assert scans == dict.fromkeys({*segments.graphs, segments.open}, 1)


def test_a_filter_that_few_pass_is_looked_up_and_sorted_exactly(database: Database, segments: Segments) -> None:
    with database.connection() as connection:
        row: Any = connection.execute("SELECT siglip.image_conditions(false, true, false)").fetchone()
        conditions = row[0].replace("$3", "NULL").replace("$7", """'{"rare": true}'""")
        found: Any = connection.execute(
            f"EXPLAIN (FORMAT JSON) SELECT array_agg(i.content_id) FROM siglip.images AS i WHERE {conditions}".encode()
        ).fetchone()
        plan = _explain_exact(connection, range(1, COUNT, 1_000))
    assert "images_metadata_gin_idx" in _indexes(found[0][0]["Plan"])
    assert not segments.graphs & _indexes(plan)
    scans = [node for node in _nodes(plan) if str(node.get("Relation Name")).startswith("image_embeddings")]
    assert {node.get("Index Name") for node in scans} <= segments.keys
    assert set(segments.sealed) <= {node["Relation Name"] for node in scans}
    assert plan["Actual Rows"] == 10


def test_exact_search_over_a_filter_reads_the_segments_by_their_keys(database: Database, segments: Segments) -> None:
    with database.connection() as connection:
        plan = _explain_exact(connection, (FAR + 1).tolist(), limit=60)
    (append,) = (node for node in _nodes(plan) if node["Node Type"] == "Append")
    assert {node["Relation Name"] for node in append["Plans"]} == {*segments.sealed, segments.open}
    # Rows that lie in the order of the key are read along it, others by a bitmap.
    assert {node["Node Type"] for node in append["Plans"]} <= {"Index Scan", "Bitmap Heap Scan"}
    assert segments.keys <= _indexes(plan)
    assert not segments.graphs & _indexes(plan)


def test_a_small_collection_is_looked_up_and_sorted_exactly(database: Database, segments: Segments) -> None:
    with database.connection() as connection, _counted_scans(connection) as scans:
        assert len(_ask(connection, "20, collection => 'small'")) == 20
    assert {f"{name}_pkey" for name in segments.sealed} <= set(scans)
    assert not set(segments.sealed) & set(scans)


def test_a_short_list_of_images_is_looked_up_by_the_keys(database: Database, segments: Segments) -> None:
    with database.connection() as connection, _counted_scans(connection) as scans:
        assert len(_ask(connection, "20, image_ids => ARRAY(SELECT generate_series(1, 12000, 240))::bigint[]")) == 20
    assert {f"{name}_pkey" for name in segments.sealed} <= set(scans)
    assert not {*segments.sealed, *segments.graphs} & set(scans)


def test_the_next_page_is_taken_from_the_graphs(database: Database, segments: Segments) -> None:
    with database.connection() as connection:
        pages = _ask(connection, "20")
        with _counted_scans(connection) as scans:
            found = _ask(connection, f"10, after => ({pages[9][2]!r}, {pages[9][0]})")
    assert [row[0] for row in found] == [row[0] for row in pages[10:]]
    assert scans == dict.fromkeys({*segments.graphs, segments.open}, 1)


def test_a_composed_search_takes_candidates_from_the_graphs(database: Database, segments: Segments) -> None:
    query = (
        "SELECT image_id FROM siglip.search_images(siglip.compose(siglip.by_vector(%(a)s::text::halfvec),"
        " siglip.by_vector(%(b)s::text::halfvec, 0.5), siglip.minus(siglip.by_vector(%(c)s::text::halfvec))){})"
    )
    parameters = {name: half_vector(VECTORS[n]).to_text() for name, n in (("a", 0), ("b", 50), ("c", 1))}
    with database.connection() as connection, _counted_scans(connection) as scans:
        found: list[Any] = connection.execute(query.format("").encode(), parameters).fetchall()
    assert segments.graphs | {f"{name}_pkey" for name in segments.sealed} <= set(scans)
    assert not set(segments.sealed) & set(scans)
    with database.connection() as connection, _counted_scans(connection) as exact_scans:
        exact: list[Any] = connection.execute(query.format(", max_results => 251").encode(), parameters).fetchall()
    assert found == exact[:10]
    assert not segments.graphs & set(exact_scans)


@pytest.mark.parametrize(
    ("policy", "is_looked_up"),
    [("metadata->>'tenth' <> '3'", False), ("collection = 'small'", True)],
    ids=["nearly all rows", "few rows"],
)
def test_a_policy_is_a_filter(database: Database, segments: Segments, policy: str, is_looked_up: bool) -> None:
    with database.connection() as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE reader_of_plans")
        connection.execute("GRANT USAGE ON SCHEMA siglip TO reader_of_plans")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO reader_of_plans")
        connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE POLICY seen ON siglip.images USING ({policy})".encode())
        connection.execute("SET LOCAL ROLE reader_of_plans")
        with _counted_scans(connection) as scans:
            assert len(_ask(connection, "10")) == 10
    assert all(scans[name] == 1 for name in segments.graphs)  # what a policy leaves is seen by what a walk gives
    assert ({f"{name}_pkey" for name in segments.sealed} <= set(scans)) == is_looked_up
    assert not set(segments.sealed) & set(scans)


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


@pytest.mark.parametrize("count", [10, 60])
def test_rows_that_the_graph_does_not_reach_are_found_by_an_exact_search(database: Database, count: int) -> None:
    """The open segment, which is searched exactly, has enough of them; the nearest lie in the sealed ones."""
    with database.connection() as connection:
        rows = _ask(connection, f"""{count}, filter => '{{"far": true}}'""")
    similarities = VECTORS[FAR] @ VECTORS[0]
    expected = FAR[np.argsort(-similarities)[:count]]
    assert len(rows) == count
    assert len({row[4]["n"] for row in rows} & set(expected.tolist())) > 0.95 * count  # half precision may swap some


def test_hnsw_finds_nearly_what_an_exact_search_finds(database: Database) -> None:
    queries = HEAPS[:20] + unit_vectors(20, 12, seed=4) @ SPREAD
    found = exact = 0
    for query in queries:
        matches = search.search_by_embedding(database, query, SearchOptions(limit=10))
        best = set(np.argsort(-(VECTORS @ query))[:10].tolist())
        found += len(best & {match.metadata["n"] for match in matches})
        exact += 10
    assert found >= 0.9 * exact


def test_label_scores_touch_no_partition_but_the_active_model_s(database: Database, segments: Segments) -> None:
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
    assert {*segments.sealed, segments.open} <= scanned
    assert not [name for name in scanned if str(name).startswith("image_embeddings_2")]
    touched = [node for node in _nodes(one[0][0]["Plan"]) if node.get("Actual Loops") and "Relation Name" in node]
    assert not [node for node in touched if node["Node Type"] == "Seq Scan" and "image" in node["Relation Name"]]


@pytest.mark.parametrize(("count", "walks"), [(100_000, 1), (500_000, 2)])
def test_a_label_is_searched_by_the_graph_where_few_images_have_it(
    database: Database, segments: Segments, count: int, walks: int
) -> None:
    """Of a large table the graph is walked from two places. So few have it that the sample isn't surprised."""
    with database.connection() as connection, connection.transaction(force_rollback=True):
        _create_label_set(connection, "few")
        _pretend_rows(connection, segments, count)
        with _counted_scans(connection) as scans:
            rows = connection.execute(
                "SELECT * FROM siglip.images_with_label('few', '0', min_score => %s)", [_score_of_nearest(8)]
            ).fetchall()
    assert len(rows) == 8
    assert all(scans.get(name) == walks for name in segments.graphs)
    assert not set(segments.sealed) & set(scans)
    assert len(scans) == 2 * len(segments.graphs) + 2  # the keys' are the sample's, and the open segment is scanned


def test_a_label_that_many_images_have_is_one_pass_over_the_vectors(database: Database, segments: Segments) -> None:
    with database.connection() as connection, connection.transaction(force_rollback=True):
        _create_label_set(connection, "many")
        with _counted_scans(connection) as scans:
            rows = connection.execute("SELECT * FROM siglip.images_with_label('many', '0', min_score => 0)").fetchall()
    assert len(rows) == COUNT
    assert scans == dict.fromkeys([*segments.sealed, segments.open], 1)


def test_counting_the_labels_of_a_set_is_one_pass_over_the_vectors(database: Database, segments: Segments) -> None:
    with database.connection() as connection, connection.transaction(force_rollback=True):
        _create_label_set(connection, "counted", 20)
        with _counted_scans(connection) as scans:
            counts: Any = connection.execute("SELECT images FROM siglip.count_labels('counted', 0.6)").fetchall()
    least = (np.log(0.6 / 0.4) - INFO.logit_bias) / np.exp(INFO.logit_scale)
    expected = (least <= VECTORS @ HEAPS[:20].T).sum(axis=0)
    assert 0 < expected.max() < COUNT
    assert np.abs(np.array(counts)[:, 0] - expected).max() <= 2  # half precision
    assert scans == dict.fromkeys([*segments.sealed, segments.open], 1)


def test_the_score_is_computed_in_place(database: Database) -> None:
    """A call of the function for each row takes three times as long as the expression."""
    with database.connection() as connection:
        plan = connection.execute("EXPLAIN (VERBOSE) SELECT * FROM siglip.label_scores WHERE score > 0.5").fetchall()
    assert not [line for (line,) in plan if "siglip.score(" in str(line)]


def test_calibrations_are_read_where_they_are_asked_for(database: Database) -> None:
    with database.connection() as connection:
        plans: list[str] = []
        for columns in ("image_id, label, similarity, logit, score", "calibrated_score, threshold, is_accepted"):
            lines: Any = connection.execute(
                f"EXPLAIN (VERBOSE) SELECT {columns} FROM siglip.label_scores".encode()
            ).fetchall()
            plans.append("\n".join(line for (line,) in lines))
    assert "label_calibrations" not in plans[0]
    assert "label_calibrations" in plans[1]
    assert "siglip.sigmoid(" not in plans[1]


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
        }
        plan: Any = connection.execute(b"EXPLAIN (FORMAT JSON) " + SQL.claim_items, parameters).fetchone()
    nodes = _nodes(plan[0][0]["Plan"])
    assert "ingest_items_queued_btree_idx" in {node.get("Index Name") for node in nodes}
    assert not [
        node
        for node in nodes
        if node["Node Type"] in {"Seq Scan", "Sort"} and node.get("Relation Name") == "ingest_items"
    ]
