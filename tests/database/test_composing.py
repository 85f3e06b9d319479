"""Queries of several parts, in SQL and in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from PIL import Image

from siglip_ingest import SiglipClient, image, text, vector
from siglip_ingest.db import Database, images
from siglip_ingest.errors import InvalidInputError, NotFoundError
from tests.database.helpers import (
    INFO,
    FakeEmbedder,
    add_model,
    image_rows,
    index_images,
    store_text,
    text_vector,
    unit_vectors,
)
from tests.database.listeners import listening

VECTORS = unit_vectors(60, seed=9)
SCALE, BIAS = float(np.exp(INFO.logit_scale)), INFO.logit_bias


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    """60 images; `album` is n % 3; some texts are in the cache."""
    ids = index_images(database, model_id, VECTORS, metadata=[{"album": n % 3} for n in range(60)])
    with database.connection() as connection:
        for query in ("beach", "people", "at night"):
            store_text(connection, model_id, query)
    return ids


def find(database: Database, query: str, options: str = "", parameters: Any = None) -> list[Any]:
    statement = f"SELECT image_id, similarity, score FROM siglip.search_images(siglip.compose({query}){options})"
    return list(database.fetch(statement.encode(), parameters))


def text_scores(query: str) -> NDArray[np.float64]:
    """Of each image."""
    scores: NDArray[np.float64] = 1 / (1 + np.exp(-(SCALE * (VECTORS @ text_vector(query)).astype(np.float64) + BIAS)))
    return scores


def test_texts_multiply_their_scores(database: Database, image_ids: list[int]) -> None:
    expected = text_scores("beach") * (1 - text_scores("people")) ** 0.5 * text_scores("at night")
    found = find(database, "'beach', siglip.minus('people', 0.5), 'at night'")
    best = np.argsort(-expected)[:10]
    assert [row[0] for row in found] == [image_ids[n] for n in best]
    assert [row[2] for row in found] == pytest.approx(expected[best].tolist(), rel=0.02)


def test_images_count_by_their_mean_similarity(database: Database, image_ids: list[int]) -> None:
    similarities = VECTORS @ VECTORS[[4, 5, 6]].T
    mean = similarities @ np.array([1, 2, -0.25]) / 3.25
    expected = ((1 + mean) / 2) ** (4 * 3.25)
    expected[[4, 5, 6]] = 0
    likes = "siglip.like(%(a)s), siglip.plus(siglip.like(%(b)s), 2), siglip.minus(siglip.like(%(c)s))"
    found = find(database, likes, parameters={"a": image_ids[4], "b": image_ids[5], "c": image_ids[6]})
    best = np.argsort(-expected)[:10]
    assert [row[0] for row in found] == [image_ids[n] for n in best]
    assert [row[2] for row in found] == pytest.approx(expected[best].tolist(), rel=0.05)


def test_a_text_alone_scores_as_in_a_plain_search(database: Database, image_ids: list[int]) -> None:
    plain = database.fetch(b"SELECT image_id, similarity, score FROM siglip.search_images('beach')")
    composed = find(database, "'beach'")
    assert [row[0] for row in composed] == [row[0] for row in plain]
    assert [row[1:] for row in composed] == [pytest.approx(row[1:], rel=1e-9) for row in plain]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("siglip.minus('people')", "only says what is not wanted"),
        ("'beach', NULL", "NULL"),
        ("'beach', ' '", "empty text"),
        ("'beach', siglip.minus('people', 0)", "from 0.01 to 100"),
        ("'beach', siglip.minus('people', -1)", "from 0.01 to 100"),
        ("'beach', siglip.plus('people', 'NaN')", "from 0.01 to 100"),
        ("'beach', siglip.plus('people', NULL)", "from 0.01 to 100"),
        ("'beach', siglip.like(NULL)", "image_id of a part is NULL"),
        ("'beach', siglip.like(987654)", "no image 987654"),
        ("'beach', siglip.by_vector('[1,2]')", "has 2 elements"),
        ("'beach', siglip.by_vector(NULL)", "NULL or zero"),
        ("'beach', siglip.by_vector('[0,0]')", "NULL or zero"),
        ("'beach', E'\\x1fno part'", "U\\+001F"),
        ("VARIADIC '{}'", "0 parts"),
        ("VARIADIC NULL::siglip.query_part[]", "0 parts"),
        ("VARIADIC array_fill('beach'::siglip.query_part, '{101}')", "101 parts"),
    ],
)
def test_what_is_no_query_is_refused_with_a_sentence(
    database: Database, image_ids: list[int], query: str, sentence: str
) -> None:
    with pytest.raises(Exception, match=sentence):
        find(database, query)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (", max_results => 0", "max_results"),
        (", min_score => 2", "min_score"),
        (", filter => '[]'", "filter"),
        (", skip_results => -1", "skip_results"),
        (", after => (NULL, 1)", "after"),
        (", model_id => 99", "no model 99"),
    ],
)
def test_wrong_options_are_refused_before_a_worker_is_asked(
    database: Database, image_ids: list[int], options: str, sentence: str
) -> None:
    with pytest.raises(Exception, match=sentence):
        find(database, "'never asked before'", options)


def test_options_narrow_and_page_a_composed_search(database: Database, image_ids: list[int]) -> None:
    query = "'beach', siglip.minus('people')"
    everything = find(database, query, ", max_results => 100")
    assert len(everything) == 60
    album = find(database, query, ", max_results => 100, filter => '{\"album\": 1}'")
    assert album == [row for row in everything if image_ids.index(row[0]) % 3 == 1]
    few = image_ids[:7]
    assert find(database, query, ", image_ids => %(few)s", {"few": few}) == [row for row in everything if row[0] in few]
    assert find(database, query, ", image_ids => '{}'") == []
    assert find(database, query, ", collection => 'other'") == []
    least = everything[4][2]
    assert find(database, query, ", min_score => %(least)s", {"least": least}) == everything[:5]
    assert find(database, query, ", max_results => 5, skip_results => 10") == everything[10:15]
    position = f"({everything[9][1]!r},{everything[9][0]})"
    page = find(database, query, ", max_results => 5, after => %(after)s::siglip.search_position", {"after": position})
    assert page == everything[10:15]


def test_a_worker_embeds_new_texts(database: Database, image_ids: list[int]) -> None:
    with listening(database) as listener:
        find(database, "'a new one', siglip.minus('another new one')")
    assert [request.query for request in listener.asked] == ["a new one", "another new one"]


def test_a_vector_of_another_model_is_refused(database: Database, image_ids: list[int], model_id: int) -> None:
    part = "siglip.by_vector(%(vector)s::halfvec, model_id => %(model_id)s)"
    vector = str(VECTORS[3].tolist())
    assert len(find(database, part, parameters={"vector": vector, "model_id": model_id})) == 10
    with pytest.raises(Exception, match="is of the model 7"):
        find(database, part, parameters={"vector": vector, "model_id": 7})


def test_python_finds_what_sql_finds_with_one_call_for_new_texts(
    database_url: str, database: Database, image_ids: list[int]
) -> None:
    embedder = FakeEmbedder()
    with SiglipClient(database_url=database_url, embedder=embedder) as client:
        like = image(image_ids[3]) * 0.7
        query = ["beach", -text("snow", 0.5), "snow", like, vector(VECTORS[9]), "another new one"]
        matches = client.search_images(query, limit=7, filter={"album": 1})
        assert embedder.calls == 1
        assert client.search_images(query, limit=7, filter={"album": 1}) == matches
        assert embedder.calls == 1
    composed = (
        "'beach', siglip.minus('snow', 0.5), 'snow', siglip.like(%(like)s, 0.7),"
        " siglip.by_vector(%(vector)s::halfvec), 'another new one'"
    )
    parameters = {"like": image_ids[3], "vector": str(VECTORS[9].tolist())}
    found = find(database, composed, ", 7, filter => '{\"album\": 1}'", parameters)
    assert [(match.image_id, match.similarity, match.score) for match in matches] == found


def test_an_image_of_ones_own_is_a_part(database_url: str, image_ids: list[int]) -> None:
    embedder = FakeEmbedder()
    with SiglipClient(database_url=database_url, embedder=embedder) as client:
        own = Image.new("RGB", (4, 4))
        matches = client.search_images([own, -text("beach")])
        assert len(matches) == 10
        assert embedder.calls == 1


def test_a_text_that_is_too_long_for_the_cache_is_cut(database_url: str, image_ids: list[int]) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        long = "x" * 3000
        first = client.search_images([long, "beach"])
        assert client.search_images([long + "y", "beach"]) == first


def test_a_role_that_only_searches_composes(database: Database, database_url: str, image_ids: list[int]) -> None:
    role = "composing_reader"
    with database.connection() as connection:
        connection.execute(f"CREATE ROLE {role}".encode())
    try:
        with database.connection() as connection:
            connection.execute(f"GRANT USAGE ON SCHEMA siglip TO {role}".encode())
            connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {role}".encode())
            connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
            connection.execute(
                f"CREATE POLICY few ON siglip.images TO {role} USING (image_id <= {image_ids[4]})".encode()
            )
        with database.connection() as connection:
            connection.execute(f"SET LOCAL ROLE {role}".encode())
            rows: Any = connection.execute(
                "SELECT image_id FROM siglip.search_images(siglip.compose('beach', siglip.minus('people')))"
            ).fetchall()
            assert sorted(row[0] for row in rows) == image_ids[:5]
            hidden = f"SELECT siglip.search_images(siglip.compose(siglip.like({image_ids[20]})))"
            with pytest.raises(psycopg.errors.NoDataFound, match="no image"), connection.transaction():
                connection.execute(hidden.encode())
    finally:
        with database.connection() as connection:
            connection.execute(f"DROP OWNED BY {role}".encode())
            connection.execute(f"DROP ROLE {role}".encode())


def test_a_large_table_is_searched_by_candidates(database: Database, image_ids: list[int]) -> None:
    query = "'beach', siglip.minus('people'), siglip.like(%(like)s)"
    exact = find(database, query, parameters={"like": image_ids[0]})
    with database.connection() as connection:  # as if more than 10,000 images passed
        connection.execute(
            "CREATE OR REPLACE FUNCTION siglip.has_more_images(collection text, filter jsonb, image_ids bigint[],"
            " count integer) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true'"
        )
        connection.execute(
            "CREATE OR REPLACE FUNCTION siglip.composed_candidates(parts siglip.embedded_part[], model siglip.models,"
            " collection text, filter jsonb, image_ids bigint[]) RETURNS bigint[] LANGUAGE sql STABLE AS"
            f" 'SELECT ''{{{exact[2][0]},{exact[5][0]}}}''::bigint[]'".encode()
        )
    assert find(database, query, parameters={"like": image_ids[0]}) == [exact[2], exact[5]]
    assert find(database, query, ", skip_results => 1", {"like": image_ids[0]})[:9] == exact[1:]


def test_candidates_are_the_nearest_to_each_sum(database: Database, image_ids: list[int]) -> None:
    statement = (
        "SELECT siglip.composed_candidates(siglip.embed_parts(siglip.compose('beach', siglip.minus('people'),"
        " siglip.like(%(like)s)), m, NULL), m, NULL, NULL, NULL) FROM siglip.described_model(1) AS m"
    )
    ((found,),) = database.fetch(statement.encode(), {"like": image_ids[0]})
    assert found == image_ids  # there are no more than 500


def test_the_sum_of_parts_that_cancel_out_has_no_direction(database: Database, image_ids: list[int]) -> None:
    found = find(database, "'beach', siglip.minus('beach', 1)")
    expected = text_scores("beach") * (1 - text_scores("beach"))
    assert found[0][0] == image_ids[int(expected.argmax())]
    statement = (
        b"SELECT siglip.sum_parts(siglip.embed_parts(siglip.compose('beach', siglip.minus('beach')),"
        b" siglip.described_model(1), NULL), 1)"
    )
    assert database.fetch(statement) == [(None,)]


@pytest.mark.parametrize("asked", ["'beach'", "'beach'::text", "'beach'::varchar", "query => 'beach'", "$1"])
def test_a_text_of_any_type_is_searched_for_as_before(database: Database, image_ids: list[int], asked: str) -> None:
    with database.connection() as connection:
        plain: Any = connection.execute(b"SELECT * FROM siglip.search_images('beach'::text)").fetchall()
        if asked == "$1":
            found: Any = connection.execute(b"SELECT * FROM siglip.search_images(%s)", ["beach"]).fetchall()
        else:
            found = connection.execute(f"SELECT * FROM siglip.search_images({asked})".encode()).fetchall()
    assert found == plain


def test_a_part_alone_is_a_query(database: Database, image_ids: list[int]) -> None:
    like = database.fetch(b"SELECT image_id FROM siglip.search_images(siglip.like(%(like)s))", {"like": image_ids[0]})
    similarities = VECTORS @ VECTORS[0]
    assert [row[0] for row in like] == [image_ids[n] for n in np.argsort(-similarities)[1:11]]
    with pytest.raises(InvalidInputError, match="only says what is not wanted"):
        database.fetch(b"SELECT siglip.search_images(siglip.minus('people'))")


@pytest.mark.parametrize(
    "options", ["", ", 60, NULL, '{\"album\": 1}'", ", filter => '{\"album\": 1}', max_results => 60"]
)
def test_a_part_alone_stays_one_beside_literals(database: Database, image_ids: list[int], options: str) -> None:
    part = f"siglip.like({image_ids[7]})"
    alone = database.fetch(f"SELECT s.* FROM siglip.search_images({part}{options}) AS s".encode())
    assert alone == database.fetch(
        f"SELECT s.* FROM siglip.search_images(siglip.compose({part}){options}) AS s".encode()
    )
    assert len(alone) == (19 if options else 10)


@pytest.mark.parametrize("function", ["relevant_images(", "diverse_images(", "search('public.photo', "])
def test_a_part_is_no_text(database: Database, image_ids: list[int], function: str) -> None:
    with database.connection() as connection:
        connection.execute("CREATE TABLE public.photo (id integer PRIMARY KEY, uri text)")
        connection.execute("SELECT siglip.attach('public.photo', 'uri')")
        with pytest.raises(psycopg.Error, match=r"The query is a part of a composed query, not a text\."):
            connection.execute(f"SELECT * FROM siglip.{function}siglip.like(1))".encode())


@pytest.mark.parametrize("part", ["name", "name::varchar", "siglip.minus(name, 0.5)"])
def test_parts_come_from_columns(database: Database, image_ids: list[int], part: str) -> None:
    rows = database.fetch(
        f"SELECT s.image_id FROM (VALUES ('people'::text)) AS t (name),"
        f" siglip.search_images(siglip.compose('beach', {part})) AS s".encode()
    )
    assert len(rows) == 10


def test_a_model_without_scores_composes_images_only(database: Database, image_ids: list[int], model_id: int) -> None:
    like = f"siglip.like({image_ids[3]}), siglip.minus(siglip.like({image_ids[5]}))"
    scored = find(database, like)
    with database.connection() as connection:
        connection.execute("UPDATE siglip.models SET logit_scale = NULL, logit_bias = NULL, is_external = true")
    unscored = find(database, like)
    assert [row[0] for row in unscored] == [row[0] for row in scored]
    assert {row[2] for row in unscored} == {None}
    with pytest.raises(InvalidInputError, match="has no scores"):
        find(database, f"'beach', {like}")
    with pytest.raises(InvalidInputError, match="has no scores"):
        find(database, like, ", min_score => 0.5")


def test_images_that_are_not_embedded_are_no_parts(database: Database, image_ids: list[int], model_id: int) -> None:
    with database.connection() as connection:
        new = images.insert_images(connection, image_rows(1, collection="new"), model_id).image_ids[0]
    with pytest.raises(NotFoundError, match="not embedded"):
        find(database, f"'beach', siglip.like({new})")


def test_postgresql_16_composes_the_same(database: Database, image_ids: list[int], postgres_16_url: str) -> None:
    query = "'beach', siglip.minus('people', 0.5), siglip.like(7, 0.7), siglip.minus(siglip.like(9)), 'at night'"
    expected = find(database, query)
    with Database(postgres_16_url) as older:
        with older.connection() as connection:
            model_id = add_model(connection)
            for text_of_query in ("beach", "people", "at night"):
                store_text(connection, model_id, text_of_query)
        assert index_images(older, model_id, VECTORS) == image_ids
        found = find(older, query)
    assert [row[0] for row in found] == [row[0] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected])
