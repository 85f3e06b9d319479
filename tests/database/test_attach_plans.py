"""What a search of an attached table costs: its rows are reached by indexes, and their number doesn't matter."""

from __future__ import annotations

from typing import Any

import pytest

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from tests.database.attached_tables import ATTACH, create_products, embed_all, fetch, fetch_one, follow
from tests.database.helpers import text_vector
from tests.database.listeners import listening

COUNT = 6000


@pytest.fixture
def connection(database: Database, model_id: int) -> Any:
    with database.session() as session:
        create_products(session, COUNT)
        session.execute(ATTACH.encode())
        follow(session, 10_000)
        embed_all(database, model_id)
        session.execute("ANALYZE product, siglip.attached_images, siglip.images")
        yield session


def plan_of(connection: Connection, statement: str, *parameters: object) -> str:
    return "\n".join(row[0] for row in fetch(connection, f"EXPLAIN {statement}", *parameters))


def test_the_rows_of_matches_are_found_by_their_keys(connection: Connection) -> None:
    query = fetch_one(
        connection, "SELECT siglip.row_matches_query(a, siglip.plan_attachment(a)) FROM siglip.attachments AS a"
    )
    for name, value in (
        ("$1", "(SELECT array_agg(s) FROM siglip.search_images(siglip.embed_text('x'), 10) AS s)"),
        ("$2", "1"),
        ("$3", "10"),
        ("$4", "NULL::jsonb"),
    ):
        query = query.replace(name, value)
    plan = plan_of(connection, query)
    assert "Index Scan using product_pkey" in plan
    assert "using attached_images_image_id_btree_idx" in plan
    assert "Seq Scan" not in plan


def test_a_join_by_key_uses_the_primary_key(connection: Connection) -> None:
    plan = plan_of(
        connection,
        "SELECT p.*, s.score FROM siglip.search('public.product', 'red shoes') AS s"
        " JOIN public.product AS p ON p.id = s.row_key::integer",
    )
    assert "Index Scan using product_pkey" in plan


def test_following_looks_rows_up_by_their_keys(connection: Connection) -> None:
    plan = plan_of(
        connection,
        "SELECT (SELECT count(*) FROM siglip.attached_changes AS c WHERE c.attachment_id = a.attachment_id)"
        " FROM siglip.attachments AS a",
    )
    assert "attached_changes_pkey" in plan


def test_rows_and_their_scores_are_those_of_a_search_of_images(
    connection: Connection, database: Database, model_id: int
) -> None:
    query = half_vector(text_vector("red shoes"))
    expected = fetch(
        connection, "SELECT uri, score FROM siglip.search_images(%s::halfvec, 20, collection => 'shop')", query
    )
    assert (
        fetch(connection, "SELECT uri, score FROM siglip.search('public.product', %s::halfvec, 20)", query) == expected
    )
    with listening(database, model_id):
        rows = fetch(
            connection,
            "SELECT (s.found).photo_url, s.score FROM siglip.search_rows(NULL::public.product, 'red shoes', 20) AS s",
        )
        assert rows == expected
        filtered = "SELECT count(*) FROM siglip.search('public.product', 'red shoes', filter => '{\"price\": 7}')"
        assert fetch_one(connection, filtered) == 1
        assert fetch_one(connection, filtered.replace("filter =>", "min_score => 1, filter =>")) == 0


def test_as_many_rows_are_found_where_images_of_others_are_nearer(
    connection: Connection, database: Database, model_id: int
) -> None:
    """The collection has images of no row, and the nearest rows are deleted and not yet followed."""
    query = half_vector(text_vector("red shoes"))
    nearest = fetch(connection, "SELECT row_key FROM siglip.search('public.product', %s::halfvec, 50)", query)
    connection.execute("DELETE FROM product WHERE id = ANY (%s::integer[])", [[int(row[0]) for row in nearest[:40]]])
    found = fetch(connection, "SELECT row_key FROM siglip.search('public.product', %s::halfvec, 10)", query)
    assert found == nearest[40:]
    assert fetch(connection, "SELECT 1 FROM siglip.search('public.product', %s::halfvec, 10000)", query)
    connection.execute("TRUNCATE product")
    assert fetch(connection, "SELECT row_key FROM siglip.search('public.product', %s::halfvec, 10)", query) == []


def test_max_results_is_checked(connection: Connection) -> None:
    query = half_vector(text_vector("red shoes"))
    for wrong in ("0", "10001", "NULL"):
        with pytest.raises(Exception, match="max_results is"):
            connection.execute(f"SELECT siglip.search('public.product', %s::halfvec, {wrong})".encode(), [query])
