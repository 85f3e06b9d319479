"""Recall is measured right, kept, watched, and reached."""

from __future__ import annotations

import logging
import math
from typing import Any

import psycopg
import pytest

from siglip_ingest import SiglipClient
from siglip_ingest.db import Connection, Database
from siglip_ingest.db.recall import list_measurements, list_settings, measure_recall, tune_search
from siglip_ingest.errors import InvalidInputError, NotFoundError
from tests.database.helpers import unit_vectors
from tests.database.recall_helpers import (
    DIMENSION,
    add_wide_model,
    break_search,
    clustered_vectors,
    load_vectors,
    maintain,
    store_texts,
)

COUNT = 600


@pytest.fixture
def wide_id(database: Database) -> int:
    """A model with 600 images, of which 60 have {"kind": "rare"} and 5 {"kind": "few"}; and 30 texts."""
    with database.connection() as connection:
        model_id = add_wide_model(connection)
        kinds = [{"kind": "few"}] * 5 + [{"kind": "rare"}] * 60 + [{}] * (COUNT - 65)
        load_vectors(connection, model_id, unit_vectors(COUNT, DIMENSION), kinds)
        store_texts(connection, model_id, unit_vectors(30, DIMENSION, seed=7))
    return model_id


def set_up_index(database: Database, vectors: int = 6000) -> int:
    with database.connection() as connection:
        model_id = add_wide_model(connection)
        load_vectors(connection, model_id, clustered_vectors(vectors))
    with psycopg.connect(**database._parameters) as connection:  # type: ignore[arg-type]  # each step in its own transaction
        connection.execute("SET siglip.measure_recall = off")
        maintain(connection, is_full=True)
    return model_id


def fetch_one(connection: Connection, statement: str, parameters: Any = None) -> Any:
    row = connection.execute(statement.encode(), parameters).fetchone()
    assert row is not None
    return row[0] if len(row) == 1 else row


def test_exact_searches_have_a_recall_of_one(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        images, texts = measure_recall(connection, sample=40)
    assert (images.kind, images.queries, images.recall, images.high) == ("images", 40, 1.0, 1.0)
    assert (texts.kind, texts.queries, texts.recall, texts.high) == ("texts", 30, 1.0, 1.0)
    assert 0.9 < images.low < 1
    assert images.search_ms > 0
    assert images.exact_ms > 0


def test_what_a_search_misses_is_counted(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        break_search(connection)
        for measured in measure_recall(connection, sample=45):
            assert measured.recall == pytest.approx(0.9)
            assert measured.low < 0.9 <= measured.high
        (images, _) = measure_recall(connection, sample=45, limit=100)
        assert images.recall == pytest.approx(0.99)


@pytest.mark.parametrize(("kind", "recall"), [pytest.param("rare", 0.9, id="ten"), pytest.param("few", 0.8, id="five")])
def test_only_images_that_pass_the_filter_count(database: Database, wide_id: int, kind: str, recall: float) -> None:
    """Where five images pass, nine in ten can't be missing: one of the five is, or of the four others."""
    with database.connection() as connection:
        break_search(connection)
        texts = measure_recall(connection, sample=30, filter={"kind": kind})[1]
        assert texts.recall == pytest.approx(recall)
        assert list_measurements(connection, 1)[0]["filter"] == {"kind": kind}


def test_a_collection_narrows_what_counts(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        connection.execute("UPDATE siglip.images SET collection = 'one' WHERE metadata ->> 'kind' = 'few'")
        break_search(connection)
        assert measure_recall(connection, sample=30, collection="one")[1].recall == pytest.approx(0.8)


def test_which_of_equal_images_is_found_does_not_matter(database: Database) -> None:
    """Twenty images of one content, and twenty contents with one vector: missing the first of them misses nothing."""
    with database.connection() as connection:
        model_id = add_wide_model(connection)
        load_vectors(connection, model_id, unit_vectors(1, DIMENSION).repeat(20, axis=0))
        load_vectors(connection, model_id, unit_vectors(1, DIMENSION, seed=3))
        connection.execute(
            "INSERT INTO siglip.images (collection, uri, content_id) SELECT 'copies', 'file:///' || n, content_id "
            "FROM generate_series(1, 20) AS n, (SELECT max(content_id) AS content_id FROM siglip.contents) AS c"
        )
        break_search(connection)
        (images,) = measure_recall(connection, sample=41)
        assert images.queries == 41
        assert images.recall == 1.0


def test_a_search_that_finds_nothing_has_no_recall(database: Database, wide_id: int) -> None:
    """Its threshold is none: each row is compared, and none is found."""
    with database.connection() as connection:
        break_search(connection, "true")
        connection.execute("ALTER FUNCTION siglip.nearest_images RENAME TO nearest_images_before")
        connection.execute(
            "CREATE FUNCTION siglip.nearest_images("
            "siglip.models, halfvec, integer, text, jsonb, double precision, bigint) RETURNS SETOF siglip.image_match"
            " LANGUAGE sql STABLE AS 'SELECT NULL::siglip.image_match LIMIT 0'"
        )
        images, texts = measure_recall(connection, sample=3)
    assert (images.recall, texts.recall) == (0.0, 0.0)
    assert images.high > 0


def test_twenty_exact_answers_take_one_scan(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        query = fetch_one(connection, "SELECT siglip.exact_answers_query(%s, 20, false, '')", [wide_id])
        connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        connection.execute(f"PREPARE answers (halfvec[], double precision[], bigint[], integer) AS {query}".encode())
        queries = "ARRAY(SELECT embedding FROM siglip.texts LIMIT 20)"
        distances = "array_fill(-0.5::double precision, ARRAY[20]), array_fill(NULL::bigint, ARRAY[20])"
        vectors = fetch_one(connection, f"SELECT ({queries})::text")
        plan = "\n".join(
            str(row[0])
            for row in connection.execute(f"EXPLAIN EXECUTE answers ('{vectors}', {distances}, 10)".encode())
        )
    assert plan.count(f"Scan on image_embeddings_{wide_id}_") == 1, plan
    assert plan.count("<#>") >= 20


@pytest.mark.parametrize(
    ("recalls", "low", "high"),
    [
        pytest.param([1.0] * 200, 0.9926, 1.0, id="all-right"),
        pytest.param([1.0] * 50, 0.9710, 1.0, id="all-right-of-few"),
        pytest.param([0.9] * 200, 0.8941, 0.9019, id="all-alike"),
        pytest.param([0.0] * 20, 0.0, 0.0705, id="none"),
        pytest.param([1.0, None, 1.0, None], 0.5067, 1.0, id="without-an-answer"),
    ],
)
def test_the_interval(database: Database, recalls: list[float | None], low: float, high: float) -> None:
    with database.connection() as connection:
        queries, recall, found_low, found_high = fetch_one(
            connection, "SELECT i.* FROM siglip.recall_interval(%s::double precision[]) AS i", [recalls]
        )
    counted = [r for r in recalls if r is not None]
    assert (queries, recall) == (len(counted), pytest.approx(math.fsum(counted) / len(counted)))
    assert (found_low, found_high) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))


def test_measurements_are_kept(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        measure_recall(connection, sample=40)
        texts, images = list_measurements(connection)
        default = fetch_one(connection, "SELECT siglip.default_ef_search()")
        assert (images["kind"], images["queries"], images["ef_search"]) == ("images", 40, default)
        assert images["index_kind"] == "halfvec"
        assert texts["kind"] == "texts"


def test_who_cannot_write_can_measure(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        assert measure_recall(connection, sample=5)[0].recall == 1.0
    with database.connection() as connection:
        assert list_measurements(connection) == []
        connection.execute("CREATE ROLE reader")
        connection.execute("GRANT USAGE ON SCHEMA siglip TO reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO reader")
        connection.execute("SET LOCAL ROLE reader")
        assert measure_recall(connection, sample=5)[0].recall == 1.0
        connection.execute("RESET ROLE")
        assert list_measurements(connection) == []
        connection.execute("DROP OWNED BY reader")
        connection.execute("DROP ROLE reader")


def test_a_drop_is_warned_of_and_shown(database: Database, wide_id: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "siglip_ingest"), database.connection() as connection:
        for _ in range(3):
            assert not measure_recall(connection, sample=100)[0].has_dropped
        assert caplog.messages == []
        break_search(connection)
        images = measure_recall(connection, sample=100)[0]
        shown = [row for row in list_measurements(connection) if row["kind"] == "images"]
    assert images.has_dropped
    assert [row["has_dropped"] for row in shown] == [True, False, False, False]
    assert shown[0]["drift"] == pytest.approx(-0.1)
    assert "Recall of images under the model wide is 0.900" in caplog.messages[0]
    assert "in the 3 measurements before it was 1.000" in caplog.messages[0]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE siglip.models SET ef_search = 50", id="ef-search"),
        pytest.param("UPDATE siglip.models SET index_kind = 'bit_rerank'", id="index-kind"),
    ],
)
def test_other_settings_are_not_compared(database: Database, wide_id: int, change: str) -> None:
    with database.connection() as connection:
        measure_recall(connection, sample=100)
        break_search(connection)
        connection.execute(change.encode())
        assert not measure_recall(connection, sample=100)[0].has_dropped


def test_a_model_without_vectors_says_so(database: Database) -> None:
    with database.connection() as connection:
        add_wide_model(connection)
    with pytest.raises(NotFoundError, match=r"has a vector under the model wide"), database.connection() as connection:
        measure_recall(connection)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sample": 0}, "sample must be a whole number from 1 to 10,000, not 0"),
        ({"sample": "many"}, "not 'many'"),
        ({"limit": 2000}, "limit must be a whole number from 1 to 1,000, not 2000"),
        ({"collection": ""}, "A collection"),
        ({"filter": ["a"]}, "filter"),
    ],
)
def test_wrong_arguments_get_a_sentence(
    database: Database, wide_id: int, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidInputError, match=sentence), database.connection() as connection:
        measure_recall(connection, **arguments)


@pytest.mark.parametrize("target", [0.4, 1.5, "high"])
def test_a_target_out_of_range_is_refused(database: Database, wide_id: int, target: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"from 0\.5 to 1"), database.connection() as connection:
        tune_search(connection, target_recall=target)


def test_tuning_keeps_the_smallest_that_reaches_it(database: Database) -> None:
    model_id = set_up_index(database)
    with database.connection() as connection:
        break_search(connection, "model.ef_search < 100", fills_up=False)
        steps = tune_search(connection, target_recall=0.98, sample=30)
        assert [step.ef_search for step in steps] == [40, 60, 80, 100]
        assert [step.is_chosen for step in steps] == [False, False, False, True]
        assert [step.recall for step in steps] == [pytest.approx(0.9)] * 3 + [1.0]
        assert fetch_one(connection, "SELECT ef_search FROM siglip.models WHERE model_id = %s", [model_id]) == 100
        assert fetch_one(connection, "SELECT ef_search, target_recall FROM siglip.recall_history WHERE is_chosen") == (
            100,
            0.98,
        )


def test_tuning_asks_for_both_kinds_of_query(database: Database) -> None:
    """Texts lie elsewhere than images: those that fare worse decide."""
    model_id = set_up_index(database)
    with database.connection() as connection:
        store_texts(connection, model_id, unit_vectors(25, DIMENSION, seed=7))
        break_search(connection, "model.ef_search < 150 AND excluded_image_id IS NULL")
        steps = tune_search(connection, sample=30)
        assert [step.ef_search for step in steps if step.is_chosen] == [150]
        connection.execute("DELETE FROM siglip.texts WHERE query > 'text 1'")
        assert fetch_one(connection, "SELECT count(*) FROM siglip.texts") < 20
        steps = tune_search(connection, sample=30)
        assert [step.ef_search for step in steps if step.is_chosen] == [40]


def test_tuning_that_fails_keeps_the_largest_and_warns(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    set_up_index(database)
    with caplog.at_level(logging.WARNING, "siglip_ingest"), database.connection() as connection:
        break_search(connection)
        steps = tune_search(connection, sample=5)
        assert fetch_one(connection, "SELECT ef_search FROM siglip.models") == 1000
    assert steps[-1].is_chosen
    assert caplog.messages[-1].startswith(
        "No ef_search reaches a recall of 0.98 under the model wide: the largest, 1000"
    )


def test_without_an_index_nothing_is_tuned(database: Database, wide_id: int) -> None:
    with database.connection() as connection:
        assert tune_search(connection) == []
        assert fetch_one(connection, "SELECT ef_search FROM siglip.models") is None


def test_settings_say_where_they_come_from(database: Database) -> None:
    set_up_index(database)

    def describe(connection: Connection) -> tuple[Any, ...]:
        (row,) = [row for row in list_settings(connection) if row["setting"] == "ef_search"]
        return row["value"], row["source"]

    with database.connection() as connection:
        default = fetch_one(connection, "SELECT siglip.default_ef_search()")
        assert describe(connection) == (str(default), "default")
        chosen = next(
            step.ef_search for step in tune_search(connection, sample=20, target_recall=0.9) if step.is_chosen
        )
        value, source = describe(connection)
        assert value == str(chosen)
        assert source.startswith("tuned on 20")
        assert source.endswith("to reach 0.9")
        connection.execute("UPDATE siglip.recall_history SET recall = 0.91 WHERE is_chosen AND kind = 'images'")
        connection.execute(
            "INSERT INTO siglip.recall_history (model_id, kind, max_results, index_kind, ef_search, queries,"
            " recall, low, high, search_ms, exact_ms, estimated_rows, target_recall, is_chosen)"
            " SELECT model_id, 'texts', 10, index_kind, ef_search, 20, 1, 1, 1, 1, 1, 1, 0.9, true"
            " FROM siglip.recall_history WHERE is_chosen"
        )
        (row,) = [row for row in list_settings(connection) if row["setting"] == "ef_search"]
        assert row["why"].endswith("it measured a recall of 0.910.")  # that of the kind that fares worse
        connection.execute("UPDATE siglip.models SET ef_search = 123")
        assert describe(connection) == ("123", "set by hand")
        connection.execute("SET LOCAL siglip.seal_rows = '5000'")
        rows = {row["setting"]: row for row in list_settings(connection)}
    assert (rows["seal_rows"]["value"], rows["seal_rows"]["source"]) == ("5000", "siglip.seal_rows")
    assert (rows["m"]["value"], rows["m"]["source"]) == ("16", "default")
    assert all(row["value"] is None or row["why"].endswith(".") for row in rows.values())


def test_maintenance_measures_after_a_build(database: Database) -> None:
    set_up_index(database, 2000)
    with psycopg.connect(**database._parameters) as connection:  # type: ignore[arg-type]
        connection.execute("SET siglip.rest_after = '0 s'")
        (step,) = maintain(connection)
        assert step.startswith("Measured the recall of wide: images ")
        assert maintain(connection) == []


def test_the_client_measures_and_tunes(database: Database, database_url: str, wide_id: int) -> None:
    with SiglipClient(database_url=database_url) as client:
        images, texts = client.index_recall(20, limit=5, filter={"kind": "rare"})
        assert (images.kind, texts.kind, images.queries) == ("images", "texts", 20)
        assert client.tune_search(0.95, sample=10) == []
