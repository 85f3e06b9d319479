"""Landmarks: drawn with each index, gone with their contents, and what a search does that never came to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from tests import segments as helpers
from tests.database.helpers import unit_vectors
from tests.segments import AT_REST, DIMENSION, add_contents, add_vectors, add_wide_model, maintain, maintain_all

COUNT = 1_200


@pytest.fixture
def database(database: Database) -> Database:
    """A database in which segments of 64 kB have an index, and of two rows one is a landmark."""
    with database.connection() as connection:
        helpers.shrink_segments(connection)
        connection.execute(
            "CREATE OR REPLACE FUNCTION siglip.rows_per_landmark() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE"
            " RETURN 2"
        )
    return database


@pytest.fixture
def model_id(database: Database) -> int:
    return add_wide_model(database)


@pytest.fixture
def vectors(database: Database, model_id: int) -> dict[int, NDArray[np.float32]]:
    """Of 1,200 contents, in one sealed segment."""
    stored = add_vectors(database, model_id, COUNT)
    maintain_all(database, AT_REST)
    return stored


def _landmarks(connection: Connection) -> list[int]:
    rows: Any = connection.execute("SELECT content_id FROM siglip.landmarks ORDER BY content_id").fetchall()
    return [content_id for (content_id,) in rows]


def _search(connection: Connection, query: NDArray[np.float32], arguments: str = "") -> list[int]:
    rows: Any = connection.execute(
        "SELECT i.content_id"
        f" FROM siglip.search_images(%s::text::halfvec{arguments}) AS m JOIN siglip.images AS i USING (image_id)"
        " ORDER BY m.similarity DESC, m.image_id".encode(),
        [half_vector(query).to_text()],
    ).fetchall()
    return [content_id for (content_id,) in rows]


def _nearest(vectors: dict[int, NDArray[np.float32]], query: NDArray[np.float32]) -> set[int]:
    contents = list(vectors)
    best = np.argsort(-(np.stack(list(vectors.values())) @ query))[:10]
    return {contents[place] for place in best}


def _use_poor_graph(connection: Connection) -> None:
    """Let searches of the graph keep few candidates, so that they miss some."""
    connection.execute("UPDATE siglip.models SET ef_search = 1")


def test_up_to_five_hundred_vectors_of_an_indexed_segment_are_landmarks(
    database: Database, vectors: dict[int, NDArray[np.float32]]
) -> None:
    with database.connection() as connection:
        drawn = _landmarks(connection)
        assert len(drawn) == 500
        assert set(drawn) <= set(vectors)
        differing: Any = connection.execute(
            "SELECT count(*) FROM siglip.landmarks AS l JOIN siglip.image_embeddings AS e USING (content_id, model_id)"
            " WHERE l.embedding::text <> e.embedding::text"
        ).fetchone()
        assert differing == (0,)


def test_a_merge_draws_them_anew(database: Database, model_id: int, vectors: dict[int, NDArray[np.float32]]) -> None:
    more = add_vectors(database, model_id, COUNT)
    while maintain(database, AT_REST, is_full=True):
        pass
    with database.connection() as connection:
        drawn = _landmarks(connection)
    assert len(drawn) == 500
    assert set(drawn) & set(vectors)
    assert set(drawn) & set(more)


def test_a_content_that_goes_is_no_landmark_any_more(
    database: Database, vectors: dict[int, NDArray[np.float32]]
) -> None:
    with database.connection() as connection:
        gone = _landmarks(connection)[:20]
        connection.execute("DELETE FROM siglip.images WHERE content_id = ANY (%s)", [gone])
    maintain(database, AT_REST)
    with database.connection() as connection:
        assert not set(gone) & set(_landmarks(connection))


def test_a_search_that_did_not_come_to_the_nearest_landmarks_is_answered_exactly(
    database: Database, model_id: int, vectors: dict[int, NDArray[np.float32]]
) -> None:
    """The landmarks are where no search can come: no content has their vector."""
    nowhere = add_contents(database, 3)
    queries = unit_vectors(20, DIMENSION, seed=9)
    with database.connection() as connection:
        _use_poor_graph(connection)
        connection.execute("DELETE FROM siglip.landmarks")
        before = sum(len(_nearest(vectors, query) & set(_search(connection, query))) for query in queries)
        assert before < 200
        found = 0
        for query in queries:
            connection.execute("DELETE FROM siglip.landmarks")
            connection.execute(
                "INSERT INTO siglip.landmarks (content_id, model_id, embedding, rank)"
                " SELECT n, %s, %s::text::halfvec, 1 FROM unnest(%s::bigint[]) AS n",
                [model_id, half_vector(query).to_text(), nowhere],
            )
            found += len(_nearest(vectors, query) & set(_search(connection, query)))
    assert found >= 198  # half precision may swap the tenth and the eleventh


def test_an_image_that_is_a_landmark_is_not_looked_for_again(
    database: Database, vectors: dict[int, NDArray[np.float32]]
) -> None:
    with database.connection() as connection:
        connection.execute(
            "DELETE FROM siglip.landmarks WHERE content_id <> (SELECT min(content_id) FROM siglip.landmarks)"
        )
        row: Any = connection.execute(
            "SELECT i.image_id FROM siglip.landmarks AS l JOIN siglip.images AS i USING (content_id)"
        ).fetchone()
        before = _count_graph_scans(connection)
        found: Any = connection.execute("SELECT count(*) FROM siglip.similar_images(%s)", [row[0]]).fetchone()
        assert found == (10,)
        assert _count_graph_scans(connection) == before + 1


def _count_graph_scans(connection: Connection) -> int:
    row: Any = connection.execute(
        "SELECT sum(pg_stat_get_xact_numscans(index))::integer FROM siglip.segments WHERE NOT is_open"
    ).fetchone()
    return int(row[0])


def test_landmarks_make_a_poor_graph_find_more(database: Database, vectors: dict[int, NDArray[np.float32]]) -> None:
    queries = unit_vectors(400, DIMENSION, seed=9)  # of few, a graph that came out well loses none
    found = {}
    with database.connection() as connection:
        _use_poor_graph(connection)
        for name in ("with", "without"):
            found[name] = sum(len(_nearest(vectors, query) & set(_search(connection, query))) for query in queries)
            connection.execute("DELETE FROM siglip.landmarks")
    assert found["with"] > found["without"]


def test_landmarks_are_compared_with_what_a_filter_leaves(
    database: Database, vectors: dict[int, NDArray[np.float32]]
) -> None:
    query = unit_vectors(1, DIMENSION, seed=9)[0]
    with database.connection() as connection:
        connection.execute("UPDATE siglip.images SET metadata = jsonb_build_object('even', content_id % 2 = 0)")
        found = _search(connection, query, """, filter => '{"even": true}'""")
    even = {content_id: vector for content_id, vector in vectors.items() if content_id % 2 == 0}
    assert len(set(found) & _nearest(even, query)) >= 9
