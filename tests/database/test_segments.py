"""Segments: closing, building and merging them while others search and write, and contents that nobody has any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import psycopg
import pytest

from siglip_ingest.db import Connection, Database, images, items, segments, text_requests
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.vectors import Record, Stored, store_vectors as store_records
from siglip_ingest.errors import DatabaseConflictError, DatabaseError, InvalidInputError
from tests import segments as helpers
from tests.database import helpers as fixtures
from tests.database.helpers import (
    claim,
    close_claim,
    complete,
    completed,
    content_hash,
    image_rows,
    unit_vectors,
)
from tests.programs import wait_until
from tests.segments import (
    AT_REST,
    BATCH,
    DIMENSION,
    LOADING,
    SEAL_ROWS,
    add_contents,
    add_vectors,
    add_wide_model,
    check_searches,
    check_vectors,
    hold_readers_lock,
    maintain,
    maintain_all,
    ranges,
    store_vectors,
    wait_for_swap,
)


@pytest.fixture
def database(database: Database) -> Database:
    """A database in which segments of 64 kB have an index."""
    with database.connection() as connection:
        helpers.shrink_segments(connection)
    return database


@pytest.fixture
def model_id(database: Database) -> int:
    return add_wide_model(database)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def _states(database: Database, model_id: int) -> list[str]:
    with database.connection() as connection:
        return helpers.states(connection, model_id)


def _check(database: Database, model_id: int, expected: dict[int, Any]) -> None:
    with database.connection() as connection:
        check_vectors(connection, model_id, expected)
    check_searches(database, model_id, expected)


def _swap_that_waits(
    database: Database, model_id: int, threads: ThreadPoolExecutor, reader: Connection
) -> Future[str | None]:
    """A maintainer that has built a segment and can't swap it in until the reader's transaction ends."""
    hold_readers_lock(reader, model_id)
    step = threads.submit(maintain, database)
    wait_for_swap(database)
    assert not step.done()
    return step


def test_a_segment_of_few_rows_stays_open(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id, 300)
    assert maintain(database) is None
    assert _states(database, model_id) == ["open"]
    _check(database, model_id, vectors)


def test_the_open_segment_is_closed_after_its_last_content_then_built(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id)
    boundary = max(vectors) + 1
    step = maintain(database)
    assert step is not None
    assert step.startswith("Closed the segment")
    assert step.endswith(f"of fake at content {boundary}.")
    with database.connection() as connection:
        assert ranges(connection, model_id) == [(None, boundary), (boundary, None)]
    assert _states(database, model_id) == ["closed", "open"]
    step = maintain(database)
    assert step is not None
    assert step.startswith("Built the segment")
    assert step.endswith(f"of fake: {BATCH} rows.")
    assert _states(database, model_id) == ["sealed", "open"]
    assert maintain(database) is None
    _check(database, model_id, vectors)


def test_the_index_is_of_the_model_s_dimension_and_named_after_its_segment(database: Database, model_id: int) -> None:
    add_vectors(database, model_id)
    maintain_all(database)
    with database.connection() as connection:
        row: Any = connection.execute(
            "SELECT c.relname, s.index::text, s.is_index_valid, pg_get_indexdef(s.index) FROM siglip.segments AS s"
            " JOIN pg_class AS c ON c.oid = s.segment WHERE NOT s.is_open"
        ).fetchone()
        storage = connection.execute(
            "SELECT DISTINCT a.attstorage FROM pg_attribute AS a JOIN siglip.segments AS s ON s.segment = a.attrelid"
            " WHERE a.attname = 'embedding'"
        ).fetchall()
    assert row[1].endswith(f"{row[0]}_hnsw_idx")
    assert row[2] is True
    assert f"((embedding)::halfvec({DIMENSION})) halfvec_ip_ops" in row[3]
    assert storage == [("p",)]


def test_at_rest_a_smaller_segment_is_closed_too(database: Database, model_id: int) -> None:
    many = {"seal_rows": "100000"}
    add_vectors(database, model_id)
    assert maintain(database, LOADING | many) is None
    assert len(maintain_all(database, AT_REST | many)) == 2
    assert _states(database, model_id) == ["sealed", "open"]


def test_what_is_queued_keeps_a_model_from_rest(database: Database, model_id: int) -> None:
    add_vectors(database, model_id)
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1), model_id)
    assert maintain(database, AT_REST | {"seal_rows": "100000"}) is None


def test_while_loading_neighbours_of_like_size_are_merged(database: Database, model_id: int) -> None:
    vectors: dict[int, Any] = {}
    most = 0
    for _ in range(8):
        vectors |= add_vectors(database, model_id)
        steps = maintain_all(database)
        assert steps
        most = max(most, len(_states(database, model_id)))
    with database.connection() as connection:
        built: Any = connection.execute("SELECT built_rows FROM siglip.index_status WHERE state = 'sealed'").fetchall()
    assert sum(rows for (rows,) in built) == 8 * BATCH
    assert most <= 4
    _check(database, model_id, vectors)


def test_at_rest_little_remains_beside_the_largest(database: Database, model_id: int) -> None:
    vectors: dict[int, Any] = {}
    for _ in range(4):
        vectors |= add_vectors(database, model_id)
        maintain_all(database)
    maintain_all(database, AT_REST)
    assert _states(database, model_id) == ["sealed", "open"]
    assert maintain(database, AT_REST) is None
    _check(database, model_id, vectors)


def test_full_maintenance_leaves_one_segment_and_an_empty_one(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id)
    maintain_all(database)
    vectors |= add_vectors(database, model_id, 7)
    maintain_all(database, is_full=True)
    with database.connection() as connection:
        rows = connection.execute(
            "SELECT state, estimated_rows, table_bytes > 0 FROM siglip.index_status ORDER BY from_content_id NULLS "
            "FIRST"
        ).fetchall()
    assert rows == [("sealed", BATCH + 7, True), ("open", 0, False)]
    _check(database, model_id, vectors)


def test_only_the_named_model_is_maintained(database: Database, model_id: int) -> None:
    other = add_wide_model(database, "other", is_active=False)
    add_vectors(database, model_id)
    store_vectors(database, other, add_vectors(database, model_id))
    with database.connection() as connection:
        helpers.configure(connection, LOADING)
        row: Any = connection.execute("SELECT siglip.maintain(%s)", [other]).fetchone()
    assert "of other at" in row[0]
    assert _states(database, model_id) == ["open"]


def test_a_late_vector_goes_into_its_sealed_segment_and_is_found(database: Database, model_id: int) -> None:
    late = add_contents(database, 1)[0]
    vectors = add_vectors(database, model_id)
    maintain_all(database)
    vectors[late] = unit_vectors(1, DIMENSION, seed=999_999)[0]
    store_vectors(database, model_id, {late: vectors[late]})
    with database.connection() as connection:
        row = connection.execute(
            "SELECT s.state FROM siglip.image_embeddings AS e JOIN siglip.index_status AS s"
            " ON s.segment = e.tableoid::regclass WHERE e.content_id = %s",
            [late],
        ).fetchone()
    assert row == ("sealed",)
    _check(database, model_id, vectors)


@pytest.mark.parametrize("is_sealed", [False, True], ids=["open", "sealed"])
def test_a_content_has_one_vector_under_a_model(database: Database, model_id: int, is_sealed: bool) -> None:
    vectors = add_vectors(database, model_id)
    if is_sealed:
        maintain_all(database)
    content_id, other = min(vectors), half_vector(vectors[max(vectors)]).to_text()
    insert = "INSERT INTO siglip.image_embeddings SELECT %s, %s, %s::text::halfvec"
    with (
        pytest.raises(DatabaseError, match=r"duplicate key .*image_embeddings_\d+_\d+_pkey"),
        database.connection() as connection,
    ):
        connection.execute(insert, [model_id, content_id, other])
    with database.connection() as connection:
        added = connection.execute(f"{insert} ON CONFLICT DO NOTHING".encode(), [model_id, content_id, other])
        assert added.rowcount == 0
    _check(database, model_id, vectors)


def test_a_vector_of_another_dimension_is_refused_in_every_segment(database: Database, model_id: int) -> None:
    first, second = add_contents(database, 2)
    add_vectors(database, model_id)
    maintain_all(database)
    later = add_contents(database, 1)[0]
    for content_id in (first, second, later):
        with pytest.raises(DatabaseError, match="dimension_check"), database.connection() as connection:
            connection.execute("INSERT INTO siglip.image_embeddings VALUES (%s, %s, '[1,0]')", [model_id, content_id])


def test_rows_that_come_and_go_between_copy_and_swap_are_caught_up(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    late = add_contents(database, 2)
    vectors = add_vectors(database, model_id)
    maintain(database)
    with database.connection() as reader:
        step = _swap_that_waits(database, model_id, threads, reader)
        added = dict(zip(late, unit_vectors(2, DIMENSION, seed=77), strict=True))
        store_vectors(database, model_id, added)
        gone = sorted(vectors)[::50]
        with database.connection() as connection:
            connection.execute("DELETE FROM siglip.image_embeddings WHERE content_id = ANY (%s)", [gone])
        assert not step.done()
    said = step.result(60)
    assert said is not None
    assert said.startswith("Built")
    expected = {content_id: vector for content_id, vector in (vectors | added).items() if content_id not in gone}
    assert _states(database, model_id) == ["sealed", "open"]
    _check(database, model_id, expected)


def test_a_vector_that_is_replaced_while_its_segment_is_built_stays_replaced(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    vectors = add_vectors(database, model_id)
    maintain(database)
    changed = sorted(vectors)[7]
    new = unit_vectors(1, DIMENSION, seed=77)[0]

    def replace() -> Stored:
        with database.connection() as connection:
            record = Record("default", f"file:///{changed}")
            return store_records(connection, model_id, [record], new[np.newaxis].astype(np.float16), replace=True)

    with database.connection() as reader:
        step = _swap_that_waits(database, model_id, threads, reader)
        replacing = threads.submit(replace)
        with pytest.raises(TimeoutError):
            replacing.result(1)  # the copy that was made has the old one
    assert str(step.result(60)).startswith("Built")
    assert replacing.result(60).replaced == 1
    _check(database, model_id, vectors | {changed: new})


def test_contents_without_any_image_stop_no_maintenance(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id)
    maintain_all(database, AT_REST)
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.images")
        connection.execute("DELETE FROM siglip.released_contents")  # as where contents never had an image
    other_id = add_wide_model(database, "other", is_active=False)
    measuring = {name: value for name, value in AT_REST.items() if name != "measure_recall"}
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT %s, content_id, embedding FROM siglip.image_embeddings",
            [other_id],
        )
    assert [step.split()[0] for step in maintain_all(database, measuring)] == ["Closed", "Built"]
    assert _states(database, other_id) == ["sealed", "open"]
    assert vectors


def test_a_row_that_another_transaction_has_not_committed_is_waited_for(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    late = add_contents(database, 1)[0]
    vectors = add_vectors(database, model_id)
    maintain(database)
    vectors[late] = unit_vectors(1, DIMENSION, seed=77)[0]
    with database.connection() as writer:
        writer.execute(
            "INSERT INTO siglip.image_embeddings SELECT %s, %s, %s::text::halfvec",
            [model_id, late, half_vector(vectors[late]).to_text()],
        )
        step = threads.submit(maintain, database)
        wait_for_swap(database)
        assert not step.done()
    assert step.result(60) is not None
    _check(database, model_id, vectors)


def test_a_long_reader_holds_back_the_swap_and_nobody_else(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    late = add_contents(database, 10)
    vectors = add_vectors(database, model_id)
    maintain(database)
    with database.connection() as reader:
        step = _swap_that_waits(database, model_id, threads, reader)
        # The maintainer is in the way for 25 ms a time; behind one that waited for the reader all of these would fail.
        for n in range(10):
            added = {late[n]: unit_vectors(1, DIMENSION, seed=500 + n)[0]}
            with database.connection() as connection:
                connection.execute("SET LOCAL lock_timeout = '10s'")
                found = connection.execute(
                    "SELECT * FROM siglip.search_images(%s::text::halfvec)",
                    [half_vector(added[late[n]]).to_text()],
                ).fetchall()
                assert len(found) == 10
                connection.execute(
                    "INSERT INTO siglip.image_embeddings SELECT %s, %s, %s::text::halfvec",
                    [model_id, late[n], half_vector(added[late[n]]).to_text()],
                )
            vectors |= added
        vectors |= add_vectors(database, model_id, 10)
        assert not step.done()
    assert step.result(60) is not None
    assert _states(database, model_id) == ["sealed", "open"]
    _check(database, model_id, vectors)


def test_a_long_reader_keeps_the_open_segment_open_for_now(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id)
    with database.connection() as reader:
        hold_readers_lock(reader, model_id)
        with pytest.raises(
            DatabaseConflictError, match=r"in use by a statement that takes long; it stays open for now"
        ):
            maintain(database)
    assert _states(database, model_id) == ["open"]
    assert len(maintain_all(database)) == 2
    _check(database, model_id, vectors)


@pytest.mark.parametrize("key", [text_requests.BELL, text_requests.LISTENER, text_requests.ELECTED])
def test_a_worker_that_listens_for_texts_keeps_no_segment_from_its_index(
    database: Database, model_id: int, key: int
) -> None:
    """It holds locks of its session with the model's id in them, which is the number of a segment, too."""
    add_vectors(database, model_id)
    with database.session() as worker:
        worker.execute("SELECT pg_advisory_lock(%s, n) FROM generate_series(1, 10) AS n", [key])
        assert _states(database, model_id) == ["open"]
        assert len(maintain_all(database)) == 2
    assert _states(database, model_id) == ["sealed", "open"]


def test_of_two_maintainers_one_works_and_the_other_has_nothing_to_do(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    vectors = add_vectors(database, model_id)
    maintain(database)
    with database.connection() as reader:
        step = _swap_that_waits(database, model_id, threads, reader)
        notices: list[str] = []
        with database.connection() as connection:
            connection.add_notice_handler(lambda diagnostic: notices.append(str(diagnostic.message_primary)))
            connection.execute("SET LOCAL client_min_messages = notice")
            assert segments.maintain(connection) is None
        assert notices == ["Another session maintains the segments just now."]
    assert step.result(60) is not None
    _check(database, model_id, vectors)


def test_maintainers_at_once_while_vectors_come_and_go_lose_none(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    loaded: list[dict[int, Any]] = []
    gone: list[int] = []

    def load() -> None:
        for _ in range(6):
            vectors = add_vectors(database, model_id)
            loaded.append(vectors)
            removed = sorted(vectors)[::100]
            with database.connection() as connection:
                connection.execute("DELETE FROM siglip.image_embeddings WHERE content_id = ANY (%s)", [removed])
            gone.extend(removed)

    loading = threads.submit(load)

    def keep_maintaining() -> int:
        steps = 0
        while not loading.done():
            steps += maintain(database) is not None
        return steps

    workers = [threads.submit(keep_maintaining) for _ in range(2)]
    loading.result(120)
    steps = sum(worker.result(60) for worker in workers) + len(maintain_all(database, AT_REST))
    assert steps >= 2
    expected = {key: vector for vectors in loaded for key, vector in vectors.items() if key not in gone}
    assert len(expected) == 6 * BATCH - len(gone)
    assert _states(database, model_id)[-1] == "open"
    _check(database, model_id, expected)


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("is_closed", [False, True], ids=["to close", "to build"])
def test_a_transaction_that_sees_only_its_snapshot_maintains_nothing(
    database: Database, model_id: int, isolation: str, is_closed: bool
) -> None:
    """It would copy what it sees, and drop what others have written since."""
    vectors = add_vectors(database, model_id)
    if is_closed:
        maintain(database)
    before = _states(database, model_id)
    with database.connection() as connection:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        helpers.configure(connection, LOADING)
        with pytest.raises(psycopg.Error, match=f"This transaction is {isolation}") as caught, connection.transaction():
            segments.maintain(connection)
    assert "READ COMMITTED" in str(caught.value.diag.message_hint)
    assert _states(database, model_id) == before
    _check(database, model_id, vectors)


def test_a_segment_of_which_a_fifth_was_deleted_is_built_anew(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id, 1_000)
    maintain_all(database)
    gone = sorted(vectors)[::4]
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.image_embeddings WHERE content_id = ANY (%s)", [gone])
        connection.execute("SELECT pg_stat_force_next_flush()")
    said = maintain(database)
    assert said is not None
    assert said.endswith("of fake: 750 rows.")
    assert maintain(database) is None
    _check(database, model_id, {key: vector for key, vector in vectors.items() if key not in gone})


def test_segments_that_are_no_neighbours_are_not_merged(database: Database, model_id: int) -> None:
    other = add_wide_model(database, "other", is_active=False)
    for _ in range(3):
        store_vectors(database, other, add_vectors(database, model_id))
        with database.connection() as connection:
            for model in (model_id, other):
                connection.execute("SELECT siglip.close_segment(%s)", [model])
    with database.connection() as connection:
        names: Any = connection.execute(
            "SELECT array_agg(segment ORDER BY from_content_id NULLS FIRST)::regclass[]::text[] FROM siglip.segments"
            " GROUP BY model_id ORDER BY model_id"
        ).fetchall()
    (first, second, third, opened), (foreign, *_) = names[0][0], names[1][0]
    for wrong in ([first, third], [third, opened], [first, foreign], [first, first], []):
        with pytest.raises(InvalidInputError, match="not closed, neighbouring"), database.connection() as connection:
            connection.execute("SELECT siglip.rebuild_segments(%s::text[]::regclass[])", [wrong])
    with database.connection() as connection:
        row = connection.execute("SELECT siglip.rebuild_segments(%s::text[]::regclass[])", [[third, second]]).fetchone()
    assert row == (2 * BATCH,)


# --- contents without images ---


def _contents(connection: Connection) -> set[int]:
    return {int(row[0]) for row in connection.execute("SELECT content_id FROM siglip.contents").fetchall()}


def _delete_images(database: Database, content_ids: list[int]) -> None:
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.images WHERE content_id = ANY (%s)", [content_ids])


def test_contents_without_an_image_go_with_their_vectors_under_every_model(database: Database, model_id: int) -> None:
    other = add_wide_model(database, "other", is_active=False)
    vectors = add_vectors(database, model_id)
    store_vectors(database, other, vectors)
    maintain_all(database)
    gone = sorted(vectors)[:3]
    _delete_images(database, gone)
    assert maintain(database) == "Removed 3 contents without an image."
    kept = {key: vector for key, vector in vectors.items() if key not in gone}
    for model in (model_id, other):
        _check(database, model, kept)
    with database.connection() as connection:
        assert _contents(connection) == set(kept)
        assert connection.execute("SELECT count(*) FROM siglip.released_contents").fetchone() == (0,)


def test_a_content_that_another_image_has_stays(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id, 2)
    shared, changed = sorted(vectors)
    with database.connection() as connection:
        connection.execute("INSERT INTO siglip.images (collection, uri, content_id) VALUES ('b', 'x', %s)", [shared])
        connection.execute("DELETE FROM siglip.images WHERE collection = 'default' AND content_id = %s", [shared])
        connection.execute("UPDATE siglip.images SET content_id = %s WHERE content_id = %s", [shared, changed])
    assert maintain(database) == "Removed 1 contents without an image."
    _check(database, model_id, {shared: vectors[shared]})


def test_emptying_the_images_releases_all_contents(database: Database, model_id: int) -> None:
    add_vectors(database, model_id, 5)
    with database.connection() as connection:
        connection.execute("TRUNCATE siglip.images CASCADE")
    assert maintain(database) == "Removed 5 contents without an image."
    with database.connection() as connection:
        assert _contents(connection) == set()
        check_vectors(connection, model_id, {})


def test_more_notes_than_a_step_takes_are_worked_off(database: Database, model_id: int) -> None:
    """Notes of contents that have another image are no work: the step goes on to the next ones."""
    vectors = add_vectors(database, model_id, 30)
    *shared, gone = sorted(vectors)
    with database.connection() as connection:
        connection.execute("INSERT INTO siglip.released_contents SELECT unnest(%s::bigint[])", [[*shared, gone]])
        connection.execute("DELETE FROM siglip.images WHERE content_id = %s", [gone])
    with database.connection() as connection:
        assert connection.execute("SELECT siglip.remove_released_contents(10)").fetchone() == (1,)
        assert _contents(connection) == set(shared)


def _embed_again(
    database: Database, model_id: int, content: object, *, has_vector: bool = True
) -> Callable[[Connection], items.Closed]:
    """An image of this content that a worker has claimed; returns what stores its result."""
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1, collection="again"), model_id)
        chunk = claim(connection, model_id)
    vector = unit_vectors(1, DIMENSION, seed=5)[0] if has_vector else None
    results = [completed(chunk.items[0], vector, content)]
    return lambda connection: close_claim(connection, model_id, chunk.lease_token, results)


@pytest.fixture
def released(database: Database, model_id: int) -> int:
    """The content "x", embedded, that has just lost its only image."""
    with database.connection() as connection:
        images.insert_images(connection, image_rows(1), model_id)
        chunk = claim(connection, model_id)
        vector = unit_vectors(1, DIMENSION, seed=5)[0]
        assert complete(connection, model_id, chunk.lease_token, [completed(chunk.items[0], vector, "x")]) == 1
        row: Any = connection.execute("DELETE FROM siglip.images RETURNING content_id").fetchone()
    return int(row[0])


def _content_of_image(connection: Connection) -> tuple[Any, ...]:
    rows = connection.execute(
        "SELECT i.content_id, c.content_hash, e.embedding IS NOT NULL FROM siglip.images AS i"
        " LEFT JOIN siglip.contents AS c USING (content_id) LEFT JOIN siglip.image_embeddings AS e USING (content_id)"
    ).fetchall()
    assert len(rows) == 1
    return tuple(rows[0])


def test_a_content_to_which_an_image_is_coming_back_is_kept(database: Database, model_id: int, released: int) -> None:
    store = _embed_again(database, model_id, "x", has_vector=False)
    with database.connection() as worker:
        assert store(worker).done == 1
        assert maintain(database) is None  # it is in use
    assert maintain(database) is None
    with database.connection() as connection:
        assert _content_of_image(connection) == (released, content_hash("x"), True)
        assert connection.execute("SELECT count(*) FROM siglip.released_contents").fetchone() == (0,)


def test_a_content_to_which_an_image_nearly_came_back_goes(database: Database, model_id: int, released: int) -> None:
    store = _embed_again(database, model_id, "x")
    with database.connection() as worker, worker.transaction(force_rollback=True):
        assert store(worker).done == 1
        assert maintain(database) is None  # it is in use
    assert maintain(database) == "Removed 1 contents without an image."
    with database.connection() as connection:
        assert _contents(connection) == set()


@pytest.mark.parametrize("has_vector", [True, False], ids=["embedded again", "known when it was looked up"])
def test_an_image_that_comes_back_to_a_content_that_is_being_removed_loses_nothing(
    database: Database, model_id: int, released: int, threads: ThreadPoolExecutor, has_vector: bool
) -> None:
    store = _embed_again(database, model_id, "x", has_vector=has_vector)

    def close() -> items.Closed:
        with database.connection() as worker:
            return store(worker)

    with database.connection() as maintainer:
        assert segments.maintain(maintainer) == "Removed 1 contents without an image."
        closing = threads.submit(close)
        with database.connection() as connection:
            wait_until(lambda: _is_somebody_waiting(connection))
        assert not closing.done()
    closed = closing.result(60)
    with database.connection() as connection:
        content_id, hash_of_content, is_embedded = _content_of_image(connection)
        assert (content_id > released, hash_of_content) == (True, content_hash("x"))
        assert is_embedded == has_vector
        # Without a vector the item isn't done: a worker embeds the image once more.
        assert closed == (items.Closed(done=1) if has_vector else items.Closed(requeued=1))
        assert fixtures.states(connection, model_id) == ({"done": 1} if has_vector else {"queued": 1})
    assert maintain(database) is None


def _is_somebody_waiting(connection: Connection) -> bool:
    row: Any = connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    return bool(row[0])


# --- siglip.index_status ---


def test_index_status_tells_state_rows_and_whether_searches_are_fast(database: Database, model_id: int) -> None:
    add_vectors(database, model_id, 100)
    query = (
        "SELECT state, is_complete, estimated_rows BETWEEN 1 AND 2 * %s, index_kind, index_bytes > 0, progress_percent"
        " FROM siglip.index_status ORDER BY from_content_id NULLS FIRST"
    )
    with database.connection() as connection:
        assert connection.execute(query, [100]).fetchall() == [("open", True, True, None, None, None)]
    add_vectors(database, model_id)
    with database.connection() as connection:
        assert connection.execute(query, [BATCH]).fetchall() == [("open", False, True, None, None, None)]
    maintain(database)
    with database.connection() as connection:
        assert connection.execute(query, [BATCH]).fetchall()[0] == ("closed", False, True, None, None, None)
    maintain(database)
    with database.connection() as connection:
        assert connection.execute(query, [BATCH]).fetchall()[0] == ("sealed", True, True, "halfvec", True, None)


def test_a_closed_segment_of_few_rows_is_sealed_without_index(database: Database, model_id: int) -> None:
    vectors = add_vectors(database, model_id, 20)
    maintain_all(database, is_full=True)
    with database.connection() as connection:
        rows = connection.execute("SELECT state, is_complete, index_kind FROM siglip.index_status").fetchall()
    assert rows[0] == ("sealed without index", True, None)
    _check(database, model_id, vectors)


def test_index_status_shows_a_segment_as_building_until_it_is_replaced(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    add_vectors(database, model_id)
    maintain(database)
    with database.connection() as reader:
        step = _swap_that_waits(database, model_id, threads, reader)
        assert _states(database, model_id) == ["building", "open"]
    step.result(60)
    assert _states(database, model_id) == ["sealed", "open"]


def test_index_status_shows_the_progress_of_the_build(
    database: Database, model_id: int, threads: ThreadPoolExecutor
) -> None:
    add_vectors(database, model_id, 12_000)
    maintain(database)
    step = threads.submit(maintain, database)
    seen: list[tuple[float, str]] = []

    def look() -> bool:
        with database.connection() as connection:
            seen.extend(
                (float(row[0]), str(row[1]))
                for row in connection.execute(
                    "SELECT progress_percent, phase FROM siglip.index_status WHERE phase IS NOT NULL"
                ).fetchall()
            )
        return step.done()

    wait_until(look, timeout_s=120)
    assert step.result() is not None
    percents = [percent for percent, _ in seen]
    assert percents == sorted(percents)
    assert any(0 < percent <= 100 for percent in percents)
    assert any("building index" in phase for _, phase in seen)


def test_a_role_that_may_only_read_sees_the_segments_and_maintains_nothing(
    database: Database, model_id: int, database_url: str
) -> None:
    add_vectors(database, model_id)
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE ROLE reader_of_segments")
        try:
            connection.execute("GRANT USAGE ON SCHEMA siglip TO reader_of_segments")
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO reader_of_segments")
            connection.execute("SET ROLE reader_of_segments")
            assert connection.execute("SELECT state FROM siglip.index_status").fetchall() == [("open",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute("SELECT siglip.maintain(is_full => true)")
        finally:
            connection.rollback()


@pytest.mark.parametrize("value", ["0", "-5", "1e4", "many", "1.5", "1000000000"])
def test_seal_rows_that_are_no_number_are_named(database: Database, model_id: int, value: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT set_config('siglip.seal_rows', %s, true)", [value])
        with pytest.raises(psycopg.errors.InvalidParameterValue, match=rf"siglip\.seal_rows is '{value}', not a whole"):
            connection.execute("SELECT siglip.maintain()")


def test_emptying_the_contents_empties_the_vectors_of_every_model(database: Database, model_id: int) -> None:
    other = add_wide_model(database, "other", is_active=False)
    vectors = add_vectors(database, model_id)
    store_vectors(database, other, vectors)
    maintain_all(database)
    with database.connection() as connection:
        connection.execute("TRUNCATE siglip.contents CASCADE")
        assert connection.execute("SELECT count(*) FROM siglip.image_embeddings").fetchone() == (0,)
    maintain_all(database)
    again = add_vectors(database, model_id, 10)
    _check(database, model_id, again)


def test_seal_rows_is_about_the_size_of_so_many_vectors(database: Database, model_id: int) -> None:
    add_vectors(database, model_id, SEAL_ROWS)
    assert maintain(database, LOADING | {"seal_rows": str(2 * SEAL_ROWS)}) is None
    assert maintain(database, LOADING | {"seal_rows": str(SEAL_ROWS // 2)}) is not None
