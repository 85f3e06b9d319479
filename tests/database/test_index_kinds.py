"""Indexes of bits: searches stay right while the kind changes, under filters, and while rows come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from siglip_ingest.db import Connection, Database
from siglip_ingest.errors import InvalidInputError
from tests.database.recall_helpers import (
    add_wide_model,
    clustered_vectors,
    load_vectors,
    maintain,
    recall_of,
)

COUNT = 6000


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    """A session in which maintenance takes its steps at once, and doesn't measure."""
    with psycopg.connect(**database._parameters) as opened:  # type: ignore[arg-type]
        opened.execute("SET siglip.measure_recall = off")
        opened.execute("SET siglip.rest_after = '1 hour'")  # nothing is merged unless a test asks for it
        yield opened


@pytest.fixture
def vectors() -> NDArray[np.float32]:
    return clustered_vectors(COUNT)


def load_segments(connection: Connection, vectors: NDArray[np.float32]) -> tuple[int, list[int]]:
    """Load vectors as three closed segments with an index, of which none is to be merged, and an open one.

    Every tenth image has {"tenth": true}.
    """
    model_id = add_wide_model(connection)
    image_ids: list[int] = []
    for rows in np.split(vectors, [4000, 5300, 5750]):
        if image_ids:
            connection.execute("SELECT siglip.close_segment(%s)", [model_id])
            connection.execute(
                "SELECT siglip.rebuild_segments(array_agg(segment))"
                " FROM siglip.segments WHERE NOT is_open AND index IS NULL"
            )
        image_ids += load_vectors(connection, model_id, rows, [{"tenth": n % 10 == 0} for n in range(len(rows))])
        connection.commit()
    return model_id, image_ids


def mean_recall(
    connection: Connection, image_ids: list[int], vectors: NDArray[np.float32], queries: int = 30, **narrowed: Any
) -> float:
    recalls = []
    for query in clustered_vectors(queries, seed=5):
        rows = connection.execute(
            "SELECT image_id FROM siglip.search_images(%s::real[]::halfvec, filter => %s::jsonb)",
            [[float(x) for x in query], narrowed.get("filter")],
        ).fetchall()
        assert len(rows) == 10
        recalls.append(recall_of([row[0] for row in rows], image_ids, vectors, query))
    connection.commit()
    return float(np.mean(recalls))


def kinds(connection: Connection) -> list[str | None]:
    rows = connection.execute("SELECT index_kind FROM siglip.segments ORDER BY from_content_id NULLS FIRST").fetchall()
    return [row[0] for row in rows]


def test_searches_stay_right_while_the_kind_changes(connection: Connection, vectors: NDArray[np.float32]) -> None:
    model_id, image_ids = load_segments(connection, vectors)
    assert kinds(connection) == ["halfvec", "halfvec", "halfvec", None]
    assert mean_recall(connection, image_ids, vectors) >= 0.98
    answer = connection.execute("SELECT siglip.create_index('bit_rerank')").fetchone()
    assert answer == ("siglip.maintain() builds bit_rerank indexes for wide: 3 left. Searches go on meanwhile.",)
    seen = []
    while (step := connection.execute("SELECT siglip.maintain()").fetchone()) != (None,):
        connection.commit()
        assert step is not None
        seen.append(kinds(connection))
        assert mean_recall(connection, image_ids, vectors) >= 0.98
        assert plan_uses(connection, model_id) == {kind for kind in seen[-1] if kind}
    assert {"halfvec", "bit_rerank"} in [set(step) - {None} for step in seen]
    assert set(kinds(connection)) == {"bit_rerank", None}
    connection.execute("SELECT siglip.create_index('halfvec')")
    maintain(connection)
    assert set(kinds(connection)) == {"halfvec", None}
    assert plan_uses(connection, model_id) == {"halfvec"}
    assert mean_recall(connection, image_ids, vectors) >= 0.98


def plan_uses(connection: Connection, model_id: int) -> set[str]:
    """Which kinds of index the search of a model scans; each segment that has one is scanned by it."""
    query, is_current = connection.execute(
        """
        SELECT q.query, strpos(p.prosrc, siglip.matches_query(q.query)) > 0
        FROM (SELECT siglip.quantised_contents(%(id)s) AS contents) AS c,
        LATERAL (SELECT CASE WHEN isempty(c.contents) THEN siglip.graph_query(%(id)s, 64)
                             ELSE siglip.quantised_query(%(id)s, 64, c.contents) END AS query) AS q,
        pg_proc AS p WHERE p.proname = 'nearest_images_' || %(id)s
        """,
        {"id": model_id},
    ).fetchall()[0]
    assert is_current  # what is planned here is what searches execute
    for name in ("enable_sort", "enable_hashjoin", "enable_mergejoin", "enable_seqscan"):
        connection.execute(f"SET LOCAL {name} = off".encode())
    connection.execute("SET LOCAL search_path = siglip, public")
    connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    connection.execute(
        b"PREPARE search (halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[]) AS "
        + str(query).encode()
    )
    query_vector = "array_fill(0.125::real, ARRAY[64])::halfvec"
    plan = "\n".join(
        str(row[0])
        for row in connection.execute(
            f"EXPLAIN EXECUTE search ({query_vector}, 10, NULL, 2.3, -2, NULL, NULL, NULL)".encode()
        )
    )
    indexes = connection.execute(
        "SELECT split_part(index::text, '.', -1), index_kind FROM siglip.segments WHERE index IS NOT NULL"
    ).fetchall()
    connection.rollback()
    used = {kind for index, kind in indexes if f"using {index} " in plan}
    assert [index for index, _ in indexes if f"using {index} " not in plan] == [], plan
    return used


def test_filters_find_all_under_an_index_of_bits(connection: Connection, vectors: NDArray[np.float32]) -> None:
    _, image_ids = load_segments(connection, vectors)
    connection.execute("SELECT siglip.create_index('bit_rerank')")
    maintain(connection)
    assert set(kinds(connection)) == {"bit_rerank", None}
    passing = {
        row[0] for row in connection.execute("SELECT image_id FROM siglip.images WHERE metadata @> '{\"tenth\": true}'")
    }
    places = [n for n, image_id in enumerate(image_ids) if image_id in passing]
    assert 500 < len(places) < 700
    subset = [image_ids[n] for n in places]
    assert mean_recall(connection, subset, vectors[places], filter='{"tenth": true}') >= 0.98


def test_more_candidates_find_more(connection: Connection, vectors: NDArray[np.float32]) -> None:
    _, image_ids = load_segments(connection, vectors)
    connection.execute("SELECT siglip.create_index('bit_rerank')")
    maintain(connection)
    connection.execute("SET siglip.rerank_candidates = 40")
    few = mean_recall(connection, image_ids, vectors)
    connection.execute("SET siglip.rerank_candidates = 1000")
    many = mean_recall(connection, image_ids, vectors)
    assert few < many
    assert many >= 0.99


def test_tuned_for_one_kind_is_not_kept_for_the_other(connection: Connection) -> None:
    model_id = add_wide_model(connection)
    connection.execute("UPDATE siglip.models SET ef_search = 77 WHERE model_id = %s", [model_id])
    connection.execute("SELECT siglip.create_index('halfvec')")
    assert connection.execute("SELECT ef_search FROM siglip.models").fetchone() == (77,)
    connection.execute("SELECT siglip.create_index('bit_rerank')")
    assert connection.execute("SELECT index_kind, ef_search FROM siglip.models").fetchone() == ("bit_rerank", None)


def test_another_kind_is_refused(database: Database) -> None:
    with database.connection() as opened:
        add_wide_model(opened)
    with pytest.raises(InvalidInputError, match="kind is 'ivfflat', not halfvec or bit_rerank"):
        database.fetch(b"SELECT siglip.create_index('ivfflat')")


@pytest.mark.parametrize("kind", ["halfvec", "bit_rerank"])
def test_recall_holds_while_half_goes_and_comes_back(
    connection: Connection, vectors: NDArray[np.float32], kind: str
) -> None:
    model_id = add_wide_model(connection)
    connection.execute("SELECT siglip.create_index(%s)", [kind])
    image_ids = load_vectors(connection, model_id, vectors)
    maintain(connection, is_full=True)
    assert mean_recall(connection, image_ids, vectors) >= 0.98

    connection.execute("DELETE FROM siglip.images WHERE image_id %% 2 = 0", [])
    kept = [n for n, image_id in enumerate(image_ids) if image_id % 2]
    ids = [image_ids[n] for n in kept]
    assert mean_recall(connection, ids, vectors[kept]) >= 0.98  # their vectors are there still
    steps = maintain(connection)
    assert f"Removed {COUNT // 2} contents without an image." in steps
    assert any(step.startswith("Built the segment") for step in steps), steps  # half of its graph was dead
    assert connection.execute("SELECT max(built_rows) FROM siglip.segment_builds").fetchone() == (COUNT // 2,)
    assert mean_recall(connection, ids, vectors[kept]) >= 0.98

    gone = [n for n, image_id in enumerate(image_ids) if image_id % 2 == 0]
    ids += load_vectors(connection, model_id, vectors[gone])
    places = kept + gone
    assert mean_recall(connection, ids, vectors[places]) >= 0.98
    maintain(connection, is_full=True)
    assert mean_recall(connection, ids, vectors[places]) >= 0.98
    assert connection.execute(
        "SELECT built_rows FROM siglip.index_status WHERE index_kind = %s", [kind]
    ).fetchone() == (COUNT,)
