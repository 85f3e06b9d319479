"""What the tests of segments share: vectors by COPY, segments of a size for tests, and the steps of maintenance."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql
from psycopg.types.numeric import Int4, Int8

from siglip_ingest.db import Connection, Database, segments
from siglip_ingest.db.connection.vectors import half_vector
from tests.database.helpers import INFO, add_model, unit_vectors
from tests.programs import wait_until

DIMENSION = 64
SEAL_ROWS = 400
BATCH = 500  # rows: more than SEAL_ROWS ask for, and with 64 elements more than INDEX_BYTES
INDEX_BYTES = 65536
WIDE = dataclasses.replace(INFO, dimension=DIMENSION)
LOADING = {
    "seal_rows": str(SEAL_ROWS),
    "measure_recall": "off",
}  # with contents that came just now: the model is loading
AT_REST = LOADING | {"rest_after": "0 s"}


def shrink_segments(connection: Connection) -> None:
    """Let segments of 64 kB have an index in this database, instead of those of 8 MB."""
    connection.execute(
        "CREATE OR REPLACE FUNCTION siglip.exact_below_bytes() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE "
        f"RETURN {INDEX_BYTES}".encode()
    )


def add_wide_model(database: Database, name: str = "fake", *, is_active: bool = True) -> int:
    with database.connection() as connection:
        return add_model(connection, dataclasses.replace(WIDE, name=name), is_active=is_active)


def add_contents(database: Database, count: int) -> list[int]:
    """Contents with an image each, without vectors; returns their ids."""
    with database.connection() as connection:
        rows: Any = connection.execute(
            "WITH added AS (INSERT INTO siglip.contents (content_hash)"
            " SELECT sha256(gen_random_uuid()::text::bytea) FROM generate_series(1, %s) RETURNING content_id)"
            " INSERT INTO siglip.images (collection, uri, content_id)"
            " SELECT 'default', 'file:///' || content_id, content_id FROM added RETURNING content_id",
            [count],
        ).fetchall()
    return sorted(content_id for (content_id,) in rows)


def store_vectors(database: Database, model_id: int, vectors: Mapping[int, NDArray[np.float32]]) -> None:
    """Store vectors by content_id, by COPY."""
    with (
        database.connection() as connection,
        connection.cursor().copy("COPY siglip.image_embeddings FROM STDIN (FORMAT binary)") as copy,
    ):
        for content_id, vector in vectors.items():
            copy.write_row((Int4(model_id), Int8(content_id), half_vector(vector)))


def add_vectors(database: Database, model_id: int, count: int = BATCH) -> dict[int, NDArray[np.float32]]:
    """Contents with an image and a vector each; returns the vectors by content_id."""
    content_ids = add_contents(database, count)
    vectors = dict(zip(content_ids, unit_vectors(count, DIMENSION, seed=content_ids[0]), strict=True))
    store_vectors(database, model_id, vectors)
    return vectors


def maintain(database: Database, settings: Mapping[str, str] = LOADING, *, is_full: bool = False) -> str | None:
    """One step, in a transaction of its own."""
    with database.connection() as connection:
        configure(connection, settings)
        return segments.maintain(connection, is_full=is_full)


def maintain_all(database: Database, settings: Mapping[str, str] = LOADING, *, is_full: bool = False) -> list[str]:
    """All steps; returns what they say."""
    steps: list[str] = []
    while step := maintain(database, settings, is_full=is_full):
        steps.append(step)
    return steps


def configure(connection: Connection, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        connection.execute("SELECT set_config('siglip.' || %s, %s, true)", [name, value])


def ranges(connection: Connection, model_id: int) -> list[tuple[int | None, int | None]]:
    """The ranges of a model's segments, in order."""
    return connection.execute(
        "SELECT from_content_id, to_content_id FROM siglip.segments WHERE model_id = %s"
        " ORDER BY from_content_id NULLS FIRST",
        [model_id],
    ).fetchall()


def check_vectors(connection: Connection, model_id: int, expected: Mapping[int, NDArray[np.float32]]) -> None:
    """Check that each content has its vector, once, in the segment of its range, and that the ranges leave no gap."""
    rows: Any = connection.execute(
        "SELECT e.content_id, e.embedding::real[],"
        " e.content_id >= coalesce(s.from_content_id, e.content_id)"
        " AND (s.to_content_id IS NULL OR e.content_id < s.to_content_id)"
        " FROM siglip.image_embeddings AS e JOIN siglip.segments AS s ON s.segment = e.tableoid::regclass"
        " WHERE e.model_id = %s ORDER BY e.content_id",
        [model_id],
    ).fetchall()
    assert [row[0] for row in rows] == sorted(expected)
    assert all(is_in_range for _, _, is_in_range in rows)
    if rows:
        stored = np.array([row[1] for row in rows], np.float32)
        assert (stored == np.stack([expected[row[0]] for row in rows]).astype(np.float16)).all()
    bounds = ranges(connection, model_id)
    assert bounds[0][0] is None
    assert bounds[-1][1] is None
    assert [bound[1] for bound in bounds[:-1]] == [bound[0] for bound in bounds[1:]]


def check_searches(database: Database, model_id: int, expected: Mapping[int, NDArray[np.float32]]) -> None:
    """Check that a search by a stored vector finds it, for a few of each end and of the middle."""
    content_ids = sorted(expected)
    with database.connection() as connection:
        for content_id in {content_ids[0], content_ids[len(content_ids) // 2], content_ids[-1]}:
            row: Any = connection.execute(
                "SELECT i.content_id, r.similarity FROM siglip.search_images(%s::text::halfvec, 1, model_id => %s) AS r"
                " JOIN siglip.images AS i USING (image_id)",
                [half_vector(expected[content_id]).to_text(), model_id],
            ).fetchone()
            assert row[0] == content_id
            assert row[1] > 0.99


def states(connection: Connection, model_id: int) -> list[str]:
    """The states of a model's segments, in order."""
    rows: Sequence[Any] = connection.execute(
        "SELECT state FROM siglip.index_status WHERE model_id = %s ORDER BY from_content_id NULLS FIRST", [model_id]
    ).fetchall()
    return [state for (state,) in rows]


def hold_readers_lock(connection: Connection, model_id: int) -> None:
    """Read a model in a transaction that goes on, as a long report does: no segment can be replaced until it ends."""
    connection.execute(
        sql.SQL("SELECT count(*) FROM siglip.image_embeddings WHERE model_id = {}").format(sql.Literal(model_id))
    )


def wait_for_swap(database: Database) -> None:
    """Wait until a maintainer has built its segment and tries to swap it in, again and again."""
    with database.connection() as connection:
        wait_until(lambda: _is_trying(connection), timeout_s=60)


def _is_trying(connection: Connection) -> bool:
    # pg_stat_activity is a snapshot of the transaction's; it is asked anew here.
    connection.execute("SELECT pg_stat_clear_snapshot()")
    found: Any = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%siglip.maintain(%'"
        " AND pid <> pg_backend_pid() AND state = 'active' AND wait_event = 'PgSleep'"
    ).fetchone()
    return bool(found[0])
