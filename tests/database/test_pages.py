"""Pages of results: `after` and `offset` come to every row once, with filters, policies and equal vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from tests.database.helpers import unit_vectors
from tests.segments import DIMENSION, add_vectors, add_wide_model, store_vectors

COUNT = 60
EQUAL = 15  # images whose vectors are one and the same
QUERY = half_vector(unit_vectors(1, DIMENSION, seed=7)[0]).to_text()


@pytest.fixture
def image_ids(database: Database) -> list[int]:
    """Sixty images in the collection t, of 15 of which the vector is the same, beside a hundred in another one."""
    model_id = add_wide_model(database)
    with database.connection() as connection:
        rows: Any = connection.execute(
            "WITH added AS (INSERT INTO siglip.contents (content_hash)"
            " SELECT sha256(gen_random_uuid()::text::bytea) FROM generate_series(1, %s) RETURNING content_id)"
            " INSERT INTO siglip.images (collection, uri, content_id, metadata)"
            " SELECT 't', 'file:///' || content_id, content_id, '{\"p\": 1}' FROM added RETURNING content_id, image_id",
            [COUNT],
        ).fetchall()
    vectors = unit_vectors(COUNT, DIMENSION, seed=5)
    vectors[20 : 20 + EQUAL] = vectors[20]
    store_vectors(database, model_id, {row[0]: vector for row, vector in zip(rows, vectors, strict=True)})
    add_vectors(database, model_id, 100)
    return [row[1] for row in rows]


def _pages(connection: Connection, arguments: str, size: int) -> list[list[int]]:
    """Pages until an empty one, each after the last row of the one before."""
    pages: list[list[int]] = []
    after: tuple[float, int] | None = None
    while not pages or pages[-1]:
        place = "" if after is None else ", after => ({!r}, {})".format(*after)
        rows: Any = connection.execute(
            f"SELECT similarity, image_id"
            f" FROM siglip.search_images(%s::text::halfvec, {size}{arguments}{place})".encode(),
            [QUERY],
        ).fetchall()
        pages.append([image_id for _, image_id in rows])
        if rows:
            after = rows[-1]
    return pages


@pytest.mark.parametrize("size", [1, 2, 5, 10, 20])
@pytest.mark.parametrize("arguments", ["", ", collection => 't'", """, filter => '{"p": 1}'"""], ids=str.split)
def test_pages_after_a_row_are_full_and_have_every_row_once(
    database: Database, image_ids: list[int], size: int, arguments: str
) -> None:
    with database.connection() as connection:
        pages = _pages(connection, arguments, size)
    found = [image_id for page in pages for image_id in page]
    assert len(found) == len(set(found)) == (COUNT if arguments else COUNT + 100)
    assert {len(page) for page in pages[:-2]} <= {size}
    if arguments:
        assert set(found) == set(image_ids)


def test_an_image_of_the_position_s_own_content_follows_it(database: Database, image_ids: list[int]) -> None:
    """One content under many URIs: they are one vector, and a page may end between them."""
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.images (collection, uri, content_id, metadata)"
            " SELECT 't', 'copy ' || n || ' of ' || i.uri, i.content_id, '{\"p\": 1}'"
            " FROM siglip.images AS i, generate_series(1, 3) AS n WHERE i.collection = 't'"
        )
        found = [image_id for page in _pages(connection, ", collection => 't'", 7) for image_id in page]
    assert len(found) == len(set(found)) == 4 * COUNT


def test_pages_of_a_role_that_sees_a_part_are_full(database: Database, image_ids: list[int]) -> None:
    seen = image_ids[::2]
    with database.connection() as connection, connection.transaction(force_rollback=True):
        role = sql.Identifier("siglip_part_of_the_images")
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(role))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(role))
        connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
        array = ", ".join(map(str, seen))
        connection.execute(f"CREATE POLICY part ON siglip.images USING (image_id = ANY (ARRAY[{array}]))".encode())
        connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES ('set', '{label}')")
        connection.execute(
            "WITH added AS (INSERT INTO siglip.labels (label_set_id, position, label, prompts)"
            " SELECT label_set_id, 0, 'one', '{one}' FROM siglip.label_sets RETURNING label_id)"
            " INSERT INTO siglip.label_embeddings SELECT 1, label_id, %s FROM added",
            [QUERY],
        )
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(role))
        for size in (1, 7, 20):
            pages = _pages(connection, "", size)
            assert sorted(image_id for page in pages for image_id in page) == seen
            assert {len(page) for page in pages[:-2]} <= {size}
        counts: Any = connection.execute(
            "SELECT (SELECT count(*) FROM siglip.label_scores), (SELECT images FROM siglip.count_labels('set', 0)),"
            " (SELECT count(*) FROM siglip.images_with_label('set', 'one', 0))"
        ).fetchone()
        assert counts == (len(seen),) * 3


@pytest.mark.parametrize("position", ["(,1)", "(0.5,)", "(,)", "(NaN,1)"])
def test_a_position_without_a_number_is_refused(database: Database, image_ids: list[int], position: str) -> None:
    with database.connection() as connection, pytest.raises(psycopg.Error, match="not the similarity and the image_id"):
        connection.execute("SELECT * FROM siglip.search_images(%s::text::halfvec, after => %s)", [QUERY, position])


def test_pages_by_offset_have_every_row_once(database: Database, image_ids: list[int]) -> None:
    found: list[int] = []
    with database.connection() as connection:
        for skipped in range(0, COUNT + 100, 10):
            rows: Any = connection.execute(
                "SELECT image_id FROM siglip.search_images(%s::text::halfvec, skip_results => %s)", [QUERY, skipped]
            ).fetchall()
            found += [image_id for (image_id,) in rows]
    assert len(found) == len(np.unique(found)) == COUNT + 100
