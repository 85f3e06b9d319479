from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import psycopg
import pytest

from siglip_ingest import SiglipClient, labeling
from siglip_ingest.db import Database, images
from siglip_ingest.errors import AlreadyExistsError, ConfigurationError, InvalidInputError, NotFoundError
from tests.database.helpers import (
    INFO,
    FakeEmbedder,
    add_model,
    image_rows,
    index_images,
    make_fake,
    text_vector,
    unit_vectors,
)

VECTORS = unit_vectors(50, seed=7)
LABELS = ["sunset", "night sky", "forest"]


def _scores(similarities: Any) -> Any:
    return 1 / (1 + np.exp(-(np.exp(INFO.logit_scale) * np.asarray(similarities) + INFO.logit_bias)))


def _prompt(label: str) -> str:
    return f"This is a photo of {label}."


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, VECTORS, metadata=[{"n": n} for n in range(50)])


@pytest.fixture
def scenes(database: Database, model_id: int) -> str:
    labeling.create_label_set(database, make_fake, "scenes", LABELS)
    return "scenes"


def test_label_scores_are_best_first_and_the_model_s_own(database: Database, image_ids: list[int], scenes: str) -> None:
    scores = labeling.label_scores_of_image_id(database, image_ids[4], scenes)
    expected = {label: float(_scores(VECTORS[4] @ text_vector(_prompt(label)))) for label in LABELS}
    assert [label for label, _ in scores] == sorted(LABELS, key=lambda label: -expected[label])
    assert dict(scores) == pytest.approx(expected, abs=2e-3)


def test_an_image_that_is_not_indexed_gets_the_same_scores(
    database: Database, image_ids: list[int], scenes: str
) -> None:
    class Found(FakeEmbedder):
        def embed_images(self, images: Any) -> Any:
            return VECTORS[[4]]

    scores = labeling.label_scores_of_image(database, lambda _: Found(), "image", scenes)  # type: ignore[arg-type]
    stored = labeling.label_scores_of_image_id(database, image_ids[4], scenes)
    assert [label for label, _ in scores] == [label for label, _ in stored]
    assert dict(scores) == pytest.approx(dict(stored), abs=1e-9)


def test_the_view_has_a_row_for_each_image_and_label(database: Database, image_ids: list[int], scenes: str) -> None:
    with database.connection() as connection:
        rows = connection.execute("SELECT * FROM siglip.label_scores")
        columns = [column.name for column in rows.description or ()]
        found: list[Any] = rows.fetchall()
    own = ["image_id", "label_set", "label", "similarity", "logit", "score"]
    assert columns == [*own, "calibrated_score", "threshold", "is_accepted"]
    assert len(found) == 50 * 3
    for image_id, _, label, similarity, logit, score, *_ in found:
        assert similarity == pytest.approx(VECTORS[image_ids.index(image_id)] @ text_vector(_prompt(label)), abs=1e-3)
        assert logit == pytest.approx(np.exp(INFO.logit_scale) * similarity + INFO.logit_bias)
        assert score == pytest.approx(_scores(similarity))


def test_one_content_under_two_uris_has_rows_for_both(database: Database, model_id: int, scenes: str) -> None:
    vector = unit_vectors(1)[0]
    image_ids = index_images(database, model_id, [vector, vector], contents=["same", "same"])
    with database.connection() as connection:
        found = connection.execute("SELECT DISTINCT image_id FROM siglip.label_scores ORDER BY 1").fetchall()
    assert found == [(image_id,) for image_id in image_ids]


def test_images_with_label_are_those_above_the_score_best_first(
    database: Database, image_ids: list[int], scenes: str
) -> None:
    query = "SELECT * FROM siglip.images_with_label('scenes', 'forest', %s)"
    exact = _scores(VECTORS @ text_vector(_prompt("forest")))
    for min_score in (0.0, 0.2, 0.5, 1.0):
        with database.connection() as connection:
            rows: list[Any] = connection.execute(query, [min_score]).fetchall()
        expected = [image_ids[n] for n in np.argsort(-exact) if exact[n] >= min_score]
        assert [row[0] for row in rows] == expected
    with database.connection() as connection:
        few = connection.execute(
            "SELECT image_id FROM siglip.images_with_label('scenes', 'forest', 0, 3, 'default', '{\"n\": 7}')"
        ).fetchall()
    assert few == [(image_ids[7],)]


def test_a_label_s_own_threshold_counts_where_no_score_is_given(
    database: Database, image_ids: list[int], scenes: str
) -> None:
    count = "SELECT count(*) FROM siglip.images_with_label('scenes', 'forest')"
    exact = _scores(VECTORS @ text_vector(_prompt("forest")))
    with database.connection() as connection:
        assert connection.execute(count).fetchone() == ((exact >= 0.5).sum(),)
        connection.execute("UPDATE siglip.labels SET threshold = 0.2 WHERE label = 'forest'")
        assert connection.execute(count).fetchone() == ((exact >= 0.2).sum(),)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("'nothing', 'forest'", NotFoundError, "There is no label set 'nothing'"),
        ("NULL, 'forest'", NotFoundError, "There is no label set NULL"),
        ("'scenes', 'desert'", NotFoundError, "The label set 'scenes' has no label 'desert'"),
        ("'scenes', 'forest', 1.5", InvalidInputError, "min_score is 1.5"),
        ("'scenes', 'forest', 0.5, 0", InvalidInputError, "max_results is 0"),
    ],
)
def test_images_with_label_says_what_is_wrong(
    database: Database, scenes: str, arguments: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message), database.connection() as connection:
        connection.execute(f"SELECT * FROM siglip.images_with_label({arguments})".encode())


def test_several_prompts_are_averaged(database: Database, image_ids: list[int]) -> None:
    labeling.create_label_set(database, make_fake, "pets", {"cat": ["a cat", "a kitten"], "dog": "a dog"})
    mean = text_vector("a cat") + text_vector("a kitten")
    expected = float(_scores(VECTORS[0] @ (mean / np.linalg.norm(mean))))
    scores = dict(labeling.label_scores_of_image_id(database, image_ids[0], "pets"))
    assert scores["cat"] == pytest.approx(expected, abs=2e-3)
    assert scores["dog"] == pytest.approx(float(_scores(VECTORS[0] @ text_vector("a dog"))), abs=2e-3)


def test_a_name_that_is_taken_is_refused_before_anything_is_embedded(database: Database, scenes: str) -> None:
    embedder = FakeEmbedder()
    with pytest.raises(AlreadyExistsError, match="'scenes' already"):
        labeling.create_label_set(database, lambda _: embedder, scenes, ["x"])
    assert embedder.calls == 0


def test_replacing_keeps_nothing_of_the_old_one(database: Database, image_ids: list[int], scenes: str) -> None:
    labeling.create_label_set(database, make_fake, scenes, ["lake"], template="{label}!", replace=True)
    assert [label for label, _ in labeling.label_scores_of_image_id(database, image_ids[0], scenes)] == ["lake"]
    (row,) = labeling.list_label_sets(database)
    assert (row.name, row.template, row.labels) == ("scenes", "{label}!", ["lake"])


def test_label_sets_are_listed_with_their_labels_in_order_and_deleted(database: Database, scenes: str) -> None:
    assert [row.labels for row in labeling.list_label_sets(database)] == [LABELS]
    labeling.delete_label_set(database, scenes)
    assert labeling.list_label_sets(database) == []
    with pytest.raises(NotFoundError, match="no label set 'scenes'"):
        labeling.delete_label_set(database, scenes)


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        ([], "{label}", "at least one label"),
        ("cat", "{label}", "Labels are a list"),
        (["cat", "cat"], "{label}", "'cat' is there twice"),
        (["cat", " "], "{label}", "isn't empty"),
        (["cat", 3], "{label}", "isn't empty, not 3"),
        (["cat"], "a photo", "doesn't contain {label}"),
        ({"cat": []}, "{label}", "'cat' has no prompts"),
        ({"cat": [""]}, "{label}", "prompt of the label 'cat' is empty"),
        (["c\0t"], "{label}", "U\\+0000"),
    ],
)
def test_labels_that_can_t_be_used_are_refused(database: Database, labels: Any, template: str, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        labeling.create_label_set(database, make_fake, "new", labels, template=template)


def test_a_label_set_needs_a_name(database: Database) -> None:
    with pytest.raises(InvalidInputError, match="needs a name"):
        labeling.create_label_set(database, make_fake, " ", ["cat"])


def test_label_vectors_of_two_models_are_never_mixed(database: Database, model_id: int) -> None:
    other = FakeEmbedder(dataclasses.replace(INFO, revision="sha256:2"))
    with pytest.raises(ConfigurationError, match="sha256:2"):
        labeling.create_label_set(database, lambda _: other, "new", ["cat"])
    assert labeling.list_label_sets(database) == []


def test_a_worker_of_a_new_model_adds_the_vectors_that_are_missing(database: Database, scenes: str) -> None:
    info = dataclasses.replace(INFO, name="other", dimension=8)
    with database.connection() as connection:
        model_id = add_model(connection, info)
    image_ids = index_images(database, model_id, unit_vectors(1, 8))
    with pytest.raises(NotFoundError, match="'scenes' has no vectors under the active model 'other'"):
        labeling.label_scores_of_image_id(database, image_ids[0], scenes)
    with pytest.raises(NotFoundError, match="'scenes' has no vectors"), database.connection() as connection:
        connection.execute("SELECT * FROM siglip.images_with_label('scenes', 'forest')")
    assert labeling.embed_labels_for_model(database, FakeEmbedder(info), model_id) == 3
    assert labeling.embed_labels_for_model(database, FakeEmbedder(info), model_id) == 0
    assert len(labeling.label_scores_of_image_id(database, image_ids[0], scenes)) == 3


class Reader(FakeEmbedder):
    """An embedder whose tokenizer leaves nothing of a text without letters."""

    def describe_refusals(self, texts: Any) -> list[str | None]:
        return [None if any(map(str.isalpha, text)) else f"Nothing is left of {text!r}." for text in texts]

    def describe_truncation(self, texts: Any) -> str | None:
        return None

    def is_settled(self, prefix: str) -> bool:
        return True

    def embed_texts(self, texts: Any) -> Any:
        assert self.describe_refusals(texts) == [None] * len(texts)
        return super().embed_texts(texts)


def test_a_label_of_which_the_model_reads_nothing_is_refused(database: Database, model_id: int) -> None:
    with pytest.raises(InvalidInputError, match=r"The label '!!!' can't be used\. Nothing is left of '!!!'"):
        labeling.create_label_set(database, lambda _: Reader(), "new", ["cat", "!!!"])
    assert labeling.list_label_sets(database) == []


def test_a_label_that_another_model_reads_nothing_of_goes_without_a_vector(
    database: Database, model_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    labeling.create_label_set(database, make_fake, "new", {"cat": ["a cat"], "surprise": ["!", "oh"]})
    info = dataclasses.replace(INFO, revision="sha256:2")
    with database.connection() as connection:
        other_id = add_model(connection, info, is_active=False)
    assert labeling.embed_labels_for_model(database, Reader(info), other_id) == 1
    assert "has no vector under the model fake. Nothing is left of '!'" in caplog.text


def test_a_client_takes_numpys_ids_and_refuses_what_is_none(
    database_url: str, database: Database, image_ids: list[int], scenes: str
) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        expected = labeling.label_scores_of_image_id(database, image_ids[0], scenes)
        assert client.label_scores(np.int64(image_ids[0]), scenes) == expected  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="image_id must be a whole number, not True"):
            client.label_scores(True, scenes)
        with pytest.raises(InvalidInputError, match="A collection needs a name"):
            client.retry_failed(collection="")


def test_an_image_or_label_set_that_is_not_there_is_named(
    database: Database, model_id: int, image_ids: list[int], scenes: str
) -> None:
    with database.connection() as connection:
        (queued,) = images.insert_images(connection, image_rows(1, collection="new"), model_id).image_ids
    for image_id in (queued, 10**6, 2**63):
        with pytest.raises(NotFoundError, match=f"There is no image {image_id}"):
            labeling.label_scores_of_image_id(database, image_id, scenes)
    with pytest.raises(NotFoundError, match="no label set 'nothing'"):
        labeling.label_scores_of_image_id(database, image_ids[0], "nothing")
    with pytest.raises(NotFoundError, match="no label set 'nothing'"):
        labeling.label_scores_of_image(database, make_fake, "image", "nothing")  # type: ignore[arg-type]


def test_without_an_active_model_labels_can_t_be_made(database: Database) -> None:
    with pytest.raises(NotFoundError, match="No model is active"):
        labeling.create_label_set(database, make_fake, "new", ["cat"])


@pytest.mark.parametrize(
    "call",
    [
        "count_labels('scenes')",
        "label_histogram('scenes')",
        "images_with_label('scenes', 'forest')",
        "calibrate('scenes', 'forest', '{1}')",
        "suggest_examples('scenes', 'forest')",
        "explain_score(1, 'scenes', 'forest')",
    ],
)
def test_a_new_session_can_begin_with_labels(
    database: Database, database_url: str, image_ids: list[int], scenes: str, call: str
) -> None:
    """Nothing has loaded pgvector's library there yet, which brings its settings."""
    with psycopg.connect(database_url) as connection:
        assert connection.execute(f"SELECT * FROM siglip.{call}".encode()).fetchall()
