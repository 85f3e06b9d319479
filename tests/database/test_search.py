from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg
import pytest

from siglip_ingest import search
from siglip_ingest.db import Database, images
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import ConfigurationError, InvalidInputError, NotFoundError
from tests.database.helpers import (
    DIMENSION,
    INFO,
    FakeEmbedder,
    add_model,
    image_rows,
    index_images,
    make_fake,
    store_text,
    text_vector,
    unit_vectors,
)

VECTORS = unit_vectors(200, seed=5)


def _no_embedder() -> FakeEmbedder:
    raise AssertionError("the embedder was asked for")


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    """200 images; `album` is n % 10."""
    return index_images(database, model_id, VECTORS, metadata=[{"album": n % 10, "n": n} for n in range(200)])


def test_search_by_text_orders_by_similarity(database: Database, image_ids: list[int]) -> None:
    matches = search.search_by_text(database, make_fake, "sunset over water", SearchOptions(limit=20))
    similarities = VECTORS @ text_vector("sunset over water")
    assert [match.image_id for match in matches] == [image_ids[n] for n in np.argsort(-similarities)[:20]]
    assert [match.similarity for match in matches] == pytest.approx(np.sort(similarities)[::-1][:20], abs=1e-3)


def test_a_score_is_the_sigmoid_of_the_scaled_similarity(database: Database, image_ids: list[int]) -> None:
    match = search.search_by_text(database, make_fake, "cat", SearchOptions(limit=1))[0]
    logit = np.exp(INFO.logit_scale) * match.similarity + INFO.logit_bias
    assert match.score == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-12)
    assert match.uri.startswith("file:///default/")
    assert set(match.metadata) == {"album", "n"}


def test_a_text_is_embedded_once_and_then_comes_from_the_database(database: Database, image_ids: list[int]) -> None:
    first = search.search_by_text(database, make_fake, "cat")
    assert search.search_by_text(database, _no_embedder, "cat") == first
    with database.connection() as connection:
        connection.execute("UPDATE siglip.texts SET last_used_at = now() - interval '3 days'")
    search.search_by_text(database, _no_embedder, "cat")
    with database.connection() as connection:
        row = connection.execute("SELECT last_used_at > now() - interval '1 minute' FROM siglip.texts").fetchone()
    assert row == (True,)


def test_search_by_image_finds_that_image_first(database: Database, image_ids: list[int]) -> None:
    class Found(FakeEmbedder):
        def embed_images(self, images: Any) -> Any:
            return VECTORS[[images[0]]]

    match = search.search_by_image(database, lambda _: Found(), 17, SearchOptions(limit=1))[0]  # type: ignore[arg-type]
    assert match.image_id == image_ids[17]
    assert match.similarity == pytest.approx(1, abs=1e-3)
    assert match.similarity <= 1


def test_similar_images_leave_the_image_itself_out(database: Database, image_ids: list[int]) -> None:
    matches = search.similar_images(database, image_ids[3], SearchOptions(limit=5))
    expected = np.argsort(-(VECTORS @ VECTORS[3]))
    assert [match.image_id for match in matches] == [image_ids[n] for n in expected if n != 3][:5]


def test_one_content_under_several_uris_is_found_under_each_in_the_order_of_the_ids(
    database: Database, model_id: int
) -> None:
    vectors = np.repeat(unit_vectors(3), 10, axis=0)
    image_ids = index_images(database, model_id, vectors, contents=[n // 10 for n in range(30)])
    for limit in (1, 7, 10):
        matches = search.search_by_embedding(database, vectors[10], SearchOptions(limit=limit))
        assert [match.image_id for match in matches] == sorted(image_ids[10:20])[:limit]
    similar = search.similar_images(database, image_ids[0], SearchOptions(limit=9))
    assert {match.image_id for match in similar} == set(image_ids[1:10])


def test_filters_narrow_the_search_and_it_still_returns_as_many_rows_as_asked(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    other_ids = index_images(database, model_id, VECTORS[:30], collection="other", metadata=[{"album": 3}] * 30)
    album = search.search_by_text(
        database, make_fake, "cat", SearchOptions(limit=15, filter={"album": 3}, collection="default")
    )
    assert len(album) == 15
    assert {match.metadata["album"] for match in album} == {3}
    other = search.search_by_text(database, make_fake, "cat", SearchOptions(limit=100, collection="other"))
    assert {match.image_id for match in other} == set(other_ids)
    assert search.search_by_text(database, make_fake, "cat", SearchOptions(collection="nowhere")) == []
    assert search.search_by_text(database, make_fake, "cat", SearchOptions(filter={"album": "3"})) == []
    assert len(search.similar_images(database, image_ids[0], SearchOptions(limit=9, filter={"album": 0}))) == 9


def test_min_score_cuts_the_end_off(database: Database, image_ids: list[int]) -> None:
    matches = search.search_by_text(database, make_fake, "cat", SearchOptions(limit=200))
    cut = search.search_by_text(database, make_fake, "cat", SearchOptions(limit=200, min_score=0.5))
    assert cut == [match for match in matches if match.score >= 0.5]
    assert 0 < len(cut) < len(matches)


def test_a_vector_that_is_not_of_unit_length_is_normalised(database: Database, image_ids: list[int]) -> None:
    match = search.search_by_embedding(database, 7 * VECTORS[3], SearchOptions(limit=1))[0]
    assert match.image_id == image_ids[3]
    assert match.similarity == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("limit", [0, -1, 10_001, 10**9, 2.5, True, None], ids=str)
def test_a_limit_out_of_range_is_refused(database: Database, limit: Any) -> None:
    with pytest.raises(InvalidInputError, match="limit must be a whole number from 1 to 10,000"):
        search.search_by_text(database, _no_embedder, "cat", SearchOptions(limit=limit))


@pytest.mark.parametrize("query", ["", "  \n\t", "a\0b", "\ud800", None, 3], ids=ascii)
def test_a_query_that_says_nothing_is_refused(database: Database, query: Any) -> None:
    with pytest.raises(InvalidInputError, match="query"):
        search.search_by_text(database, _no_embedder, query)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"min_score": 1.5}, "min_score must be a number from 0 to 1, not 1.5"),
        ({"min_score": float("nan")}, "min_score must be a number from 0 to 1"),
        ({"filter": "album"}, "filter must be a mapping"),
    ],
    ids=["min_score", "nan", "filter"],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        SearchOptions(**options)


@pytest.mark.parametrize("image_id", [99, -1, 2**63], ids=str)
def test_an_unknown_image_is_not_found(database: Database, model_id: int, image_id: int) -> None:
    with pytest.raises(NotFoundError, match=f"no image {image_id}"):
        search.similar_images(database, image_id)


def test_an_image_that_is_not_embedded_yet_is_not_found(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        (image_id,) = images.insert_images(connection, image_rows(1), model_id).image_ids
    with pytest.raises(NotFoundError, match="not embedded under the model fake"):
        search.similar_images(database, image_id)


def test_numpys_numbers_are_taken(database: Database, image_ids: list[int]) -> None:
    limit, min_score = np.int64(3), np.float32(0)
    expected = search.search_by_text(database, make_fake, "cat", SearchOptions(limit=3, min_score=0))
    assert (
        search.search_by_text(database, make_fake, "cat", SearchOptions(limit=limit, min_score=min_score)) == expected
    )  # type: ignore[arg-type]
    like = search.similar_images(database, image_ids[0], SearchOptions(limit=3))
    assert search.similar_images(database, np.int64(image_ids[0]), SearchOptions(limit=limit)) == like  # type: ignore[arg-type]


def test_a_vector_of_another_dimension_is_refused(database: Database, image_ids: list[int]) -> None:
    with pytest.raises(InvalidInputError, match=f"has 8 elements, those of the model fake have {DIMENSION}"):
        search.search_by_embedding(database, unit_vectors(1, 8)[0])


def test_vectors_of_two_models_are_never_mixed(database: Database, image_ids: list[int]) -> None:
    other = dataclasses.replace(INFO, revision="sha256:2")
    with pytest.raises(ConfigurationError, match="sha256:2"):
        search.search_by_text(database, lambda _: FakeEmbedder(other), "cat")
    with pytest.raises(ConfigurationError, match="sha256:2"):
        search.search_by_image(database, lambda _: FakeEmbedder(other), "image")  # type: ignore[arg-type]
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.texts").fetchone() == (0,)


def test_after_changing_the_active_model_only_its_vectors_are_found(database: Database, image_ids: list[int]) -> None:
    other = dataclasses.replace(INFO, name="other", dimension=8)
    with database.connection() as connection:
        other_id = add_model(connection, other)
    assert search.search_by_text(database, lambda _: FakeEmbedder(other), "cat") == []
    found = index_images(database, other_id, unit_vectors(4, 8), collection="new")
    matches = search.search_by_text(database, lambda _: FakeEmbedder(other), "cat")
    assert {match.image_id for match in matches} == set(found)


def test_without_an_active_model_searching_says_so(database: Database) -> None:
    searches: list[Callable[[], object]] = [
        lambda: search.search_by_text(database, _no_embedder, "cat"),
        lambda: search.search_by_embedding(database, VECTORS[0]),
        lambda: search.similar_images(database, 1),
    ]
    for one in searches:
        with pytest.raises(NotFoundError, match="No model is active"):
            one()


def test_a_model_that_no_worker_has_loaded_is_named(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("INSERT INTO siglip.models (name, is_active) VALUES ('org/model', true)")
    for one in (search.search_by_text, search.search_by_image):
        with pytest.raises(NotFoundError, match=r"'org/model' has not been loaded|model org/model has not been loaded"):
            one(database, _no_embedder, "cat")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("call", "sqlstate", "message"),
    [
        ("siglip.search_images('')", "22023", "The query is empty."),
        ("siglip.search_images(NULL::text)", "22023", "The query is empty."),
        ("siglip.search_images('cat', 0)", "22023", "max_results is 0"),
        ("siglip.search_images('cat', 10001)", "22023", "max_results is 10001"),
        ("siglip.search_images('cat', NULL)", "22023", "max_results is NULL"),
        ("siglip.search_images('cat', filter => '[1]')", "22023", "filter is a JSON array"),
        ("siglip.search_images('cat', min_score => 2)", "22023", "min_score is 2"),
        ("siglip.search_images(NULL::halfvec)", "22023", "The query embedding is NULL"),
        ("siglip.search_images('[1,2]'::halfvec)", "22023", "has 2 elements"),
        ("siglip.similar_images(NULL)", "P0002", "There is no image NULL"),
        ("siglip.similar_images(99)", "P0002", "There is no image 99"),
        ("siglip.embed_text('cat', 99)", "P0002", "There is no model 99"),
    ],
)
def test_sql_says_what_is_wrong_and_gives_a_hint(
    database: Database, model_id: int, call: str, sqlstate: str, message: str
) -> None:
    with database.session() as connection:
        with database.connection() as writer:
            store_text(writer, model_id, "cat")
        with pytest.raises(psycopg.Error, match=message) as caught:
            connection.execute(f"SELECT * FROM {call}".encode())
    assert caught.value.sqlstate == sqlstate
    assert caught.value.diag.message_hint


def test_sql_and_python_find_the_same(database: Database, model_id: int, image_ids: list[int]) -> None:
    matches = search.search_by_text(
        database, make_fake, "cat", SearchOptions(limit=3, filter={"album": 4}, min_score=0.01)
    )
    with database.connection() as connection:
        rows = connection.execute(
            """SELECT * FROM siglip.search_images('cat', 3, filter => '{"album": 4}', min_score => 0.01)"""
        )
        assert [column.name for column in rows.description or ()] == [
            field.name for field in dataclasses.fields(matches[0])
        ]
        assert rows.fetchall() == [dataclasses.astuple(match) for match in matches]
        similarity = matches[0].similarity
        assert connection.execute("SELECT siglip.score(%s)", [similarity]).fetchone() == (matches[0].score,)


def test_functions_work_whatever_the_search_path_is(database: Database, image_ids: list[int]) -> None:
    search.search_by_text(database, make_fake, "cat")
    with database.connection() as connection:
        connection.execute("SET LOCAL search_path = pg_catalog")
        rows = connection.execute("SELECT * FROM siglip.search_images('cat', 5)").fetchall()
        assert len(rows) == 5
        assert connection.execute("SELECT current_setting('search_path')").fetchone() == ("pg_catalog",)


def test_a_search_leaves_the_settings_of_its_transaction_alone(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        connection.execute("SELECT '[1]'::halfvec")
        before = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name LIKE 'hnsw%%' OR name = 'jit'", ()
        ).fetchall()
        connection.execute("SELECT * FROM siglip.similar_images(%s, 1000)", [image_ids[0]])
        after = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name LIKE 'hnsw%%' OR name = 'jit'", ()
        ).fetchall()
    assert before == after
    assert len(before) >= 5


@pytest.mark.parametrize("logit_scale", [0.0, 4.7, 40.0, 700.0])
@pytest.mark.parametrize("similarity", [-1.0, 0.0, 1.0])
def test_a_score_never_overflows(database: Database, similarity: float, logit_scale: float) -> None:
    with database.connection() as connection:
        row = connection.execute("SELECT siglip.score(%s, %s, -16)", [similarity, logit_scale]).fetchone()
    assert row is not None
    assert 0 <= row[0] <= 1  # type: ignore[operator]


def test_the_score_of_nothing_is_nothing(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        assert connection.execute("SELECT siglip.score(NULL, 4.7, -16), siglip.score(NULL)").fetchone() == (None, None)
