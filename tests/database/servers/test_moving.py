"""Segments on other servers: what is found, written and deleted stays the same."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from tests.database.helpers import unit_vectors
from tests.database.servers.helpers import DIMENSION, Cluster, Session
from tests.programs import wait_until

QUERY = unit_vectors(1, seed=99)[0]
WAITS = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"


def _add_servers(session: Session, cluster: Cluster) -> None:
    for number, url in enumerate(cluster.other_urls, 1):
        session.ask("SELECT siglip.add_server(%s, %s)", f"s{number}", url)


def _answers(session: Session) -> list[object]:
    ids = [image_id for image_id, _ in session.search(QUERY, 40)]
    last = session.search(QUERY, 5)[-1]
    return [
        session.search(QUERY),
        session.search(QUERY, 300),
        session.search(QUERY, 10, collection="tenth"),
        session.search(QUERY, 40, collection="tenth"),
        session.search(QUERY, 10, image_ids=ids[7:30]),
        session.search(QUERY, 10, skip_results=15),
        session.search(QUERY, 10, after=f"({last[1]},{last[0]})"),
        session.ask("SELECT image_id, round(similarity::numeric, 4) FROM siglip.similar_images(5, 20)"),
        session.ask("SELECT image_id, round(similarity::numeric, 4) FROM siglip.images_with_label('pets', 'cat', 0.1)"),
        session.ask("SELECT * FROM siglip.count_labels('pets', 0.15)"),
        session.ask("SELECT image_id, round(score::numeric, 4) FROM siglip.label_scores ORDER BY 1"),
        session.content_ids(),
    ]


def _add_label(session: Session) -> None:
    label_set_id = session.value(
        "INSERT INTO siglip.label_sets (name, template) VALUES ('pets', '{label}') RETURNING label_set_id"
    )
    label_id = session.value(
        "INSERT INTO siglip.labels (label_set_id, label, prompts, position) VALUES (%s, 'cat', '{cat}', 0)"
        " RETURNING label_id",
        label_set_id,
    )
    session.ask("INSERT INTO siglip.label_embeddings VALUES (1, %s, %s)", label_id, HalfVector(QUERY))


def test_answers_are_the_same_wherever_segments_are(cluster: Cluster) -> None:
    with cluster.connect() as session:
        first, second, third = session.fill()
        _add_label(session)
        expected = _answers(session)
        assert all(expected)
        _add_servers(session, cluster)
        second = session.move(second, "s1")
        assert _answers(session) == expected
        first, third = session.move(first, "s1"), session.move(third, "s2")
        assert _answers(session) == expected
        assert session.ask("SELECT name, segments, estimated_rows, is_reachable, bytes > 0 FROM siglip.servers") == [
            ("s1", 2, 200, True, True),
            ("s2", 1, 100, True, True),
        ]
        first = session.move(first, "s2")
        second = session.move(second, None)
        assert _answers(session) == expected
        for name in (first, third):
            session.move(name, None)
        assert _answers(session) == expected
        assert not session.ask("SELECT FROM siglip.segments WHERE server IS NOT NULL")


def test_the_remote_index_serves_the_search(cluster: Cluster) -> None:
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        session.ask(
            "CREATE OR REPLACE FUNCTION siglip.exact_below_bytes() RETURNS bigint LANGUAGE sql IMMUTABLE RETURN 0"
        )
        name = session.fill(6000, 1)[0]
        _add_servers(session, cluster)
        name = session.move(name, "s1")
        plan = _explain(
            session, f"{session.value('SELECT siglip.graph_query(1, %s)', DIMENSION)}".replace("$1", _literal()), "3"
        )
        remote = re.search(r"Remote SQL: (SELECT content_id, embedding .* ORDER BY .*)", plan)
        assert remote is not None, plan
        assert "Merge Append" in plan
        options = str(session.value("SELECT siglip.server_session_options()"))
        with psycopg.connect(cluster.other_urls[0], options=options, autocommit=True) as fdw:
            cursor_plan = "\n".join(
                row[0] for row in fdw.execute(b"EXPLAIN DECLARE c CURSOR FOR " + remote[1].encode()).fetchall()
            )
        assert "Index Scan using image_embeddings_1_" in cursor_plan, cursor_plan
        assert other.value("SELECT count(*) FROM pg_indexes WHERE indexdef LIKE '%%hnsw%%'") == 1


def test_the_exact_path_s_array_travels(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill(2000, 1)[0]
        _add_servers(session, cluster)
        session.move(name, "s1")
        query = session.value("SELECT siglip.exact_query(1, 'true', true, false)").replace(
            "ARRAY(SELECT unnest($9))", "$9"
        )
        plan = _explain(
            session, query.replace("$1", _literal()).replace("$9", f"'{set(range(1, 1001))}'::bigint[]"), "3"
        )
        remote = re.search(r"Remote SQL: (.*)", plan)
        assert remote is not None, plan
        assert "content_id = ANY" in remote[1]
        assert "ORDER BY" in remote[1]
        assert "<#>" in remote[1]


def test_settings_of_a_search_hold_on_the_other_server(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill(30, 1)[0]
        _add_servers(session, cluster)
        session.move(name, "s1")
        session.search(QUERY)  # the library that knows hnsw.* is loaded there now
        session.ask(
            "CREATE FOREIGN TABLE settings (name text, setting text) SERVER s1"
            " OPTIONS (schema_name 'pg_catalog', table_name 'pg_settings')"
        )
        default = str(session.value("SELECT siglip.default_ef_search()"))
        asked = "SELECT setting FROM settings WHERE name = %s"
        assert session.value(asked, "hnsw.iterative_scan") == "relaxed_order"
        assert session.value(asked, "hnsw.ef_search") == default
        with session.connection.transaction():
            session.search(QUERY, 10, collection="tenth")  # exactly: nothing has to be said
            assert session.value(asked, "hnsw.iterative_scan") == "relaxed_order"
            session.ask("CREATE OR REPLACE FUNCTION siglip.exact_rows_elsewhere() RETURNS integer IMMUTABLE RETURN 0")
            session.search(QUERY, 10, collection="tenth")  # one round of the graph, not one after the other
            assert session.value(asked, "hnsw.iterative_scan") == "off"
            session.search(QUERY, 400)
            assert session.value(asked, "hnsw.iterative_scan") == "relaxed_order"
            assert session.value(asked, "hnsw.ef_search") == "800"
        session.search(QUERY)
        assert session.value(asked, "hnsw.ef_search") == default
        session.ask("UPDATE siglip.models SET ef_search = 700")
        session.search(QUERY)
        assert session.value(asked, "hnsw.ef_search") == "700"


def test_late_vectors_and_deletes_reach_the_other_server(cluster: Cluster) -> None:
    with cluster.connect() as session, cluster.connect(cluster.other_urls[0]) as other:
        name = session.fill(100, 1)[0]
        _add_servers(session, cluster)
        session.ask("DELETE FROM siglip.image_embeddings WHERE content_id IN (5, 6)")
        session.move(name, "s1")
        table = other.value("SELECT schemaname || '.' || tablename FROM pg_tables WHERE tablename LIKE 'image_emb%%'")
        assert other.value(f"SELECT count(*) FROM {table}") == 98
        session.add_vectors([5], unit_vectors(1))
        for ids in ([5], [6, 7, 101]):
            values = ", ".join(f"(1, {content_id}, {_literal()})" for content_id in ids)
            session.ask(f"INSERT INTO siglip.image_embeddings VALUES {values} ON CONFLICT DO NOTHING")
        assert other.value(f"SELECT count(*) FROM {table}") == 100
        assert session.content_ids() == list(range(1, 102))
        session.ask("DELETE FROM siglip.images WHERE content_id <= 40")
        assert "Removed 40 contents without an image." in session.maintain()
        assert other.value(f"SELECT count(*) FROM {table}") == 60
        assert session.content_ids() == list(range(41, 102))


def test_what_can_t_be_moved_is_refused(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill(30, 1)[0]
        _add_servers(session, cluster)
        open_segment = session.value("SELECT segment::text FROM siglip.segments WHERE is_open")
        for segment, server, words in (
            (open_segment, "s1", "not a closed segment"),
            ("siglip.images", "s1", "not a closed segment"),
            (name, "nowhere", "There is no server nowhere"),
            (name, None, "on this server already"),
        ):
            with pytest.raises(psycopg.Error, match=words):
                session.ask("SELECT siglip.move_segment(%s::regclass, %s)", segment, server)
        name = session.move(name, "s1")
        with pytest.raises(psycopg.Error, match="on s1 already"):
            session.move(name, "s1")
        with pytest.raises(psycopg.Error, match="The server s1 holds 1 segments"):
            session.ask("SELECT siglip.remove_server('s1')")


def test_segments_elsewhere_bound_what_is_merged(cluster: Cluster) -> None:
    with cluster.connect() as session:
        names = session.fill(400, 4)
        _add_servers(session, cluster)
        session.move(names[1], "s1")
        session.ask("SET siglip.rest_after = '0 s'")
        while session.value("SELECT siglip.maintain(is_full => true)") is not None:
            pass
        rows = session.ask("SELECT to_content_id, server FROM siglip.segments WHERE NOT is_open ORDER BY 1")
        assert rows == [(101, None), (201, "s1"), (401, None)]
        assert session.content_ids() == list(range(1, 401))
        with pytest.raises(psycopg.Error, match="not closed, neighbouring segments of one model on this server"):
            session.ask("SELECT siglip.rebuild_segments(array_agg(segment)) FROM siglip.segments WHERE NOT is_open")


def test_a_role_that_only_searches_searches_there(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill(60, 2)[0]
        _add_servers(session, cluster)
        session.ask("CREATE ROLE reader LOGIN PASSWORD 'x1'")
        session.ask("GRANT USAGE ON SCHEMA siglip TO reader")
        session.ask("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO reader")
        try:
            session.move(name, "s1")
            with cluster.connect(cluster.url.replace("siglip:", "reader:", 1)) as reader:
                register_vector(reader.connection)
                assert reader.search(QUERY, 60) == session.search(QUERY, 60)
                assert reader.ask("SELECT name, is_reachable, segments FROM siglip.servers")[0] == ("s1", None, 1)
                assert not reader.ask("SELECT FROM pg_user_mappings WHERE umoptions IS NOT NULL")
        finally:
            session.ask("DROP OWNED BY reader")
            session.ask("DROP ROLE reader")


def _literal() -> str:
    return f"'{HalfVector(QUERY).to_text()}'::halfvec"


def _explain(session: Session, query: str, limit: str) -> str:
    for number, value in {
        "10": "NULL::siglip.search_position",
        "2": limit,
        "3": "NULL::bigint",
        "6": "NULL::text",
        "7": "NULL::jsonb",
        "8": "NULL::bigint[]",
    }.items():
        query = re.sub(rf"\${number}(?!\d)", value, query)
    return "\n".join(row[0] for row in session.ask("EXPLAIN (VERBOSE, COSTS OFF) " + query.replace("%", "%%")))


def test_a_search_that_waited_for_the_swap_finds_every_segment(cluster: Cluster) -> None:
    with cluster.connect() as session, cluster.connect() as searcher, ThreadPoolExecutor(1) as threads:
        name = session.fill(60, 2)[0]
        _add_servers(session, cluster)
        name = session.move(name, "s1")
        register_vector(searcher.connection)
        searches = [
            lambda: searcher.search(QUERY, 60),
            lambda: searcher.search(QUERY, 60, collection="tenth"),
            lambda: searcher.search(QUERY, 5),
        ]
        for search in searches:
            expected = search()
            with session.connection.transaction():
                session.ask("LOCK TABLE ONLY siglip.image_embeddings_1 IN ACCESS EXCLUSIVE MODE")
                waiting = threads.submit(search)
                wait_until(lambda: bool(session.value(WAITS, searcher.connection.info.backend_pid)))
                name = session.move(name, None)
            assert waiting.result(timeout=60) == expected
            with session.connection.transaction():
                session.ask("LOCK TABLE ONLY siglip.image_embeddings_1 IN ACCESS EXCLUSIVE MODE")
                waiting = threads.submit(search)
                wait_until(lambda: bool(session.value(WAITS, searcher.connection.info.backend_pid)))
                session.ask("SELECT siglip.rebuild_segments(ARRAY[%s::regclass])", name)
            assert waiting.result(timeout=60) == expected
            name = session.value("SELECT segment FROM siglip.segments WHERE to_content_id = 31")
            name = session.move(name, "s1")


def test_a_transaction_that_sees_only_its_snapshot_moves_nothing(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill()[0]
        _add_servers(session, cluster)
        expected = session.search(QUERY, 40)
        with psycopg.connect(cluster.url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            with pytest.raises(psycopg.Error, match="This transaction is REPEATABLE READ"):
                connection.execute("SELECT siglip.move_segment(%s::text::regclass, 's1')", [name])
        assert not session.ask("SELECT FROM siglip.segments WHERE server IS NOT NULL")
        assert session.search(QUERY, 40) == expected
