"""All that is relevant, several labels at once, and diversity, beside exact answers by numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from siglip_ingest import SiglipClient, labeling
from siglip_ingest.db import Database
from siglip_ingest.errors import InvalidInputError, NotFoundError
from tests.database.helpers import (
    DIMENSION,
    INFO,
    FakeEmbedder,
    add_model,
    index_images,
    make_fake,
    store_text,
    text_vector,
    unit_vectors,
)

NEW = dataclasses.replace(INFO, name="other", revision="sha256:2", dimension=8)

COUNT = 60
VECTORS = unit_vectors(COUNT, seed=11)
LABELS = ["sunset", "night sky", "forest"]
METADATA = [{"n": n, "is_odd": n % 2 == 1, "taken_at": f"2026-07-{1 + n * 7 % 28:02}"} for n in range(COUNT)]


def score(similarities: Any) -> Any:
    return 1 / (1 + np.exp(-(np.exp(INFO.logit_scale) * np.asarray(similarities) + INFO.logit_bias)))


SCORES = np.stack([score(VECTORS @ text_vector(f"This is a photo of {label}.")) for label in LABELS])


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    labeling.create_label_set(database, make_fake, "scenes", LABELS)
    return index_images(database, model_id, VECTORS, metadata=METADATA)


@pytest.fixture
def client(database_url: str, image_ids: list[int]) -> Iterator[SiglipClient]:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        yield client


def fetch(database: Database, statement: str, *parameters: Any) -> list[Any]:
    with database.connection() as connection:
        return connection.execute(statement.encode(), parameters).fetchall()


def test_all_relevant_images_are_found_best_first(client: SiglipClient, image_ids: list[int]) -> None:
    exact = score(VECTORS @ text_vector("a lake"))
    order = [image_ids[n] for n in np.argsort(-exact) if exact[n] >= 0.2]
    assert 10 < len(order) < COUNT  # more than a search returns, and not all
    for query in ("a lake", text_vector("a lake")):
        found = client.relevant_images(query, min_score=0.2)
        assert [match.image_id for match in found] == order
        assert [match.score for match in found] == pytest.approx(sorted(exact[exact >= 0.2], reverse=True), abs=5e-3)
    assert client.relevant_images("a lake", min_score=1) == []
    odd = client.relevant_images("a lake", min_score=0.2, filter={"is_odd": True}, collection="default")
    assert [match.image_id for match in odd] == [i for i in order if METADATA[image_ids.index(i)]["is_odd"]]
    assert client.relevant_images("a lake", min_score=0, collection="nothing") == []


def test_more_than_the_graph_gives_are_found_too(database: Database, model_id: int) -> None:
    vectors = unit_vectors(1200, seed=5)
    image_ids = index_images(database, model_id, vectors, metadata=[{"n": n % 2} for n in range(1200)])
    with database.connection() as connection:
        store_text(connection, model_id, "a lake")
    exact = score(vectors @ text_vector("a lake"))
    for condition, passes in (("", np.full(1200, True)), (", 'default', '{\"n\": 1}'", np.arange(1200) % 2 == 1)):
        rows = fetch(database, f"SELECT image_id, score FROM siglip.relevant_images('a lake', 0.01{condition})")
        expected = [image_ids[n] for n in np.argsort(-exact) if passes[n] and exact[n] >= 0.01]
        assert len(rows) > 500
        clear = {image_ids[n] for n in range(1200) if abs(exact[n] - 0.01) < 1e-4}  # what rounding may decide
        assert {image_id for image_id, _ in rows} ^ set(expected) <= clear
        assert [row[1] for row in rows] == sorted((row[1] for row in rows), reverse=True)


def test_the_recipe_for_the_newest_relevant_images(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        store_text(connection, model_id, "a lake")
    exact = score(VECTORS @ text_vector("a lake"))
    relevant = [n for n in range(COUNT) if exact[n] >= 0.2]
    newest = sorted(relevant, key=lambda n: (METADATA[n]["taken_at"], image_ids[n]), reverse=True)[:5]
    rows = fetch(
        database,
        "SELECT image_id FROM siglip.relevant_images('a lake', min_score => 0.2)"
        " ORDER BY metadata->>'taken_at' DESC, image_id DESC LIMIT 5",
    )
    assert [row[0] for row in rows] == [image_ids[n] for n in newest]


def test_images_have_all_of_some_labels(client: SiglipClient, image_ids: list[int]) -> None:
    found = client.images_with_labels("scenes", all_of=["sunset", "forest"], min_score=0.15)
    least = np.minimum(SCORES[0], SCORES[2])
    assert [match.image_id for match in found] == [image_ids[n] for n in np.argsort(-least) if least[n] >= 0.15]
    assert len(found) > 3
    for match in found:
        n = image_ids.index(match.image_id)
        assert match.score == pytest.approx(least[n], abs=5e-3)
        assert match.scores == pytest.approx({"sunset": SCORES[0, n], "forest": SCORES[2, n]}, abs=5e-3)
        assert match.metadata == METADATA[n]


def test_images_have_any_of_some_labels(client: SiglipClient, image_ids: list[int]) -> None:
    found = client.images_with_labels(None, any_of=["scenes/sunset", "scenes/forest"], min_score=0.3)
    best = np.maximum(SCORES[0], SCORES[2])
    assert [match.image_id for match in found] == [image_ids[n] for n in np.argsort(-best) if best[n] >= 0.3]
    assert len(found) > 10
    assert found[0].scores.keys() == {"scenes/sunset", "scenes/forest"}
    limited = client.images_with_labels("scenes", any_of=["sunset", "forest"], min_score=0.3, limit=4)
    assert [match.image_id for match in limited] == [match.image_id for match in found[:4]]


def test_labels_are_combined(client: SiglipClient, image_ids: list[int]) -> None:
    for narrow, passes in (({}, np.full(COUNT, True)), ({"filter": {"is_odd": True}}, np.arange(COUNT) % 2 == 1)):
        found = client.images_with_labels(
            "scenes", all_of=["sunset"], any_of=["forest"], none_of=["night sky"], min_score=0.1, **narrow
        )
        expected = passes & (SCORES[0] >= 0.1) & (SCORES[2] >= 0.1) & (SCORES[1] < 0.1)
        assert {match.image_id for match in found} == {image_ids[n] for n in np.flatnonzero(expected)}
        assert found


def test_each_label_s_own_rule_counts_where_no_score_is_given(
    database: Database, client: SiglipClient, model_id: int, image_ids: list[int]
) -> None:
    with database.connection() as connection:
        connection.execute("UPDATE siglip.labels SET threshold = 0.2 WHERE label = 'forest'")
        connection.execute(
            "INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias, threshold)"
            " SELECT label_id, %s, 1, 2, 1.5, 0.4 FROM siglip.labels WHERE label = 'sunset'",
            [model_id],
        )
    logits = np.log(SCORES[0] / (1 - SCORES[0]))
    sunset = 1 / (1 + np.exp(-(2 * logits + 1.5)))
    has = (sunset >= 0.4) & (SCORES[2] >= 0.2)
    found = client.images_with_labels("scenes", all_of=["sunset", "forest"])
    assert {match.image_id for match in found} == {image_ids[n] for n in np.flatnonzero(has)}
    assert found
    for match in found:
        n = image_ids.index(match.image_id)
        assert match.scores == pytest.approx({"sunset": sunset[n], "forest": SCORES[2, n]}, abs=1e-2)
    raw = client.images_with_labels("scenes", all_of=["sunset"], min_score=0.4)
    assert {match.image_id for match in raw} == {image_ids[n] for n in np.flatnonzero(SCORES[0] >= 0.4)}


def test_the_functions_of_sql_are_the_same(database: Database, client: SiglipClient) -> None:
    rows = fetch(database, "SELECT image_id FROM siglip.all_of('scenes', '{sunset,forest}', 0.15)")
    both = client.images_with_labels("scenes", all_of=["sunset", "forest"], min_score=0.15)
    assert [row[0] for row in rows] == [match.image_id for match in both]
    rows = fetch(database, "SELECT image_id FROM siglip.any_of('scenes', '{sunset,forest}', 0.3, max_results => 3)")
    either = client.images_with_labels("scenes", any_of=["sunset", "forest"], min_score=0.3, limit=3)
    assert [row[0] for row in rows] == [match.image_id for match in either]


def test_the_rarest_label_is_looked_up(database: Database, model_id: int, image_ids: list[int]) -> None:
    landmarks = (
        "INSERT INTO siglip.landmarks (content_id, model_id, embedding, rank)"
        " SELECT content_id, model_id, embedding, 1 FROM siglip.image_embeddings"
    )
    rarest = (
        "SELECT (siglip.rarest_label(siglip.active_model(), ARRAY(SELECT n FROM siglip.named_labels("
        "siglip.active_model(), 'scenes', '{sunset,night sky,forest}', 0.3) AS n))).label"
    )
    assert fetch(database, rarest) == [("sunset",)]  # nothing is known
    with database.connection() as connection:
        connection.execute(landmarks.encode())
    assert fetch(database, rarest) == [(LABELS[int(np.argmin((SCORES >= 0.3).sum(axis=1)))],)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label_set": "nothing", "all_of": ["x"]}, NotFoundError, "There is no label set 'nothing'"),
        ({"label_set": "scenes", "all_of": ["desert"]}, NotFoundError, "The label set 'scenes' has no label 'desert'"),
        ({"label_set": None, "any_of": ["sunset"]}, NotFoundError, "There is no label 'sunset'.*a stroke between them"),
        ({"label_set": "scenes"}, InvalidInputError, "No label is named that the images have"),
        ({"label_set": "scenes", "none_of": ["sunset"]}, InvalidInputError, "No label is named that the images have"),
        ({"label_set": "scenes", "all_of": "sunset"}, InvalidInputError, "all_of is a list of labels, not 'sunset'"),
        ({"label_set": "scenes", "all_of": [""]}, InvalidInputError, "A label needs a name"),
        ({"label_set": "scenes", "all_of": ["sunset"], "min_score": 2}, InvalidInputError, "min_score must be"),
        ({"label_set": "scenes", "all_of": ["sunset"], "limit": 0}, InvalidInputError, "limit must be"),
    ],
)
def test_wrong_labels_are_refused(
    client: SiglipClient, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        client.images_with_labels(**arguments)


def test_a_label_of_two_sets_needs_its_set(database: Database, client: SiglipClient) -> None:
    labeling.create_label_set(database, make_fake, "a", ["b/c"])
    labeling.create_label_set(database, make_fake, "a/b", ["c"])
    with pytest.raises(InvalidInputError, match="'a/b/c' is the name of several labels"):
        client.images_with_labels(None, all_of=["a/b/c"])
    assert client.images_with_labels("a/b", all_of=["c"], min_score=0)


def test_images_of_a_result_are_not_alike(client: SiglipClient, image_ids: list[int]) -> None:
    similarities = VECTORS @ VECTORS.T
    order = np.argsort(-(VECTORS @ text_vector("a lake")))
    chosen: list[int] = []
    for n in order:
        if all(similarities[n, other] <= 0.3 for other in chosen):
            chosen.append(int(n))
    found = client.diverse_images("a lake", limit=6, max_similarity=0.3)
    assert [match.image_id for match in found] == [image_ids[n] for n in chosen[:6]]
    assert len(client.diverse_images("a lake", limit=1000, max_similarity=0.3)) == len(chosen) < COUNT
    assert client.diverse_images("a lake", limit=6, max_similarity=1) == client.search_images("a lake", limit=6)


def test_of_a_burst_the_best_is_there_once(database: Database, model_id: int) -> None:
    generator = np.random.default_rng(3)
    scenes = unit_vectors(4, seed=1)
    bursts = np.repeat(scenes, 150, axis=0) + generator.normal(0, 0.01, (600, DIMENSION))
    bursts = (bursts / np.linalg.norm(bursts, axis=1, keepdims=True)).astype(np.float32)
    image_ids = index_images(database, model_id, bursts)
    with SiglipClient(database_url=_url(database), embedder=FakeEmbedder()) as client:
        found = client.diverse_images(scenes[0], limit=4)
        assert [image_ids.index(match.image_id) // 150 for match in found] == list(np.argsort(-(scenes @ scenes[0])))
        like = client.diverse_images(image_ids[0], limit=3, max_similarity=0.9)
        assert image_ids[0] not in {match.image_id for match in like}
        assert image_ids.index(like[0].image_id) // 150 == 0
        with pytest.raises(NotFoundError, match="There is no image 999999"):
            client.diverse_images(999_999)
        with pytest.raises(InvalidInputError, match=r"max_similarity must be a number from 0 to 1, not 1\.5"):
            client.diverse_images("x", max_similarity=1.5)


def test_files_that_are_the_same_are_one(database: Database, model_id: int) -> None:
    vectors = np.repeat(unit_vectors(3, seed=1), 5, axis=0)
    image_ids = index_images(database, model_id, vectors, contents=[n // 5 for n in range(15)])
    with SiglipClient(database_url=_url(database), embedder=FakeEmbedder()) as client:
        found = client.diverse_images(vectors[0], limit=10, max_similarity=1)
    assert found[0].image_id == image_ids[0]
    assert len(found) == 3


def test_nothing_compares_vectors_of_two_models(database: Database, client: SiglipClient, image_ids: list[int]) -> None:
    with database.connection() as connection:
        other_id = add_model(connection, NEW, is_active=False)
    other = index_images(database, other_id, unit_vectors(4, NEW.dimension, seed=2), collection="other")
    assert {match.image_id for match in client.relevant_images("a lake", min_score=0)} == set(image_ids)
    embedding = [float(x) for x in unit_vectors(1, NEW.dimension)[0]]
    for function in ("relevant_images(%s::real[]::halfvec, 0", "diverse_images(%s::real[]::halfvec, 10, 1"):
        rows = fetch(database, f"SELECT image_id FROM siglip.{function}, model_id => {other_id})", embedding)
        assert {row[0] for row in rows} == set(other)
        with pytest.raises(InvalidInputError, match="elements, those of the model fake have 16"):
            fetch(database, f"SELECT image_id FROM siglip.{function})", embedding)
    with pytest.raises(NotFoundError, match="The label 'sunset' has no vector under the model"):
        fetch(database, f"SELECT * FROM siglip.all_of('scenes', '{{sunset}}', model_id => {other_id})")


def _url(database: Database) -> str:
    with database.connection() as connection:
        info = connection.info
        return f"postgresql://{info.user}:{info.password}@{info.host}:{info.port}/{info.dbname}"
