"""Labels from images alone: what they find, how marks change them, and that they follow a model change."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from siglip_ingest import SiglipClient, labeling
from siglip_ingest.db import Database, labels
from siglip_ingest.errors import DatabaseError, InvalidInputError, NotFoundError
from tests.database.helpers import INFO, FakeEmbedder, add_model, index_images, unit_vectors
from tests.database.labels import row_of, rows_of

WIDE = dataclasses.replace(INFO, dimension=64)
# Five kinds of images, 40 of each: what they have in common, their kind, and noise.
KINDS = unit_vectors(5, 64, seed=1)
COMMON = unit_vectors(1, 64, seed=2)[0]
VECTORS = np.repeat(KINDS, 40, axis=0) + 2 * COMMON + 0.5 * unit_vectors(200, 64, seed=3)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
FOUND = "SELECT image_id FROM siglip.images_with_label('kinds', 'second')"
MAKE = "SELECT * FROM siglip.label_from_images('kinds', 'second', %s::bigint[], %s::bigint[])"


@pytest.fixture
def model_id(database: Database) -> int:
    with database.connection() as connection:
        return add_model(connection, WIDE)


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, VECTORS)


def _find(connection: Any) -> set[int]:
    return {image_id for (image_id,) in rows_of(connection, FOUND)}


@pytest.mark.parametrize("count", [1, 2, 5, 20])
def test_a_label_finds_the_images_of_its_examples_kind(database: Database, image_ids: list[int], count: int) -> None:
    with database.connection() as connection:
        fit = row_of(connection, MAKE, image_ids[40 : 40 + count], [])
        found = _find(connection)
    kind = set(image_ids[40:80])
    assert len(found & kind) >= 36 if count > 1 else len(found & kind) >= 20
    assert len(found - kind) <= 4
    assert (fit["positives"], fit["negatives"], fit["version"]) == (count, 0, 1)


def test_negatives_take_out_what_is_like_the_examples(database: Database, image_ids: list[int]) -> None:
    mixed = [*image_ids[40:43], *image_ids[80:83]]
    with database.connection() as connection:
        row_of(connection, MAKE, mixed, [])
        before = _find(connection) & set(image_ids[80:120])
        fit = row_of(connection, "SELECT * FROM siglip.calibrate('kinds', 'second', NULL, %s)", image_ids[80:90])
        after = _find(connection) & set(image_ids[80:120])
        assert fit["log_loss_after"] <= fit["log_loss_before"] + 1e-9
    assert len(before) > 20
    assert len(after) < 5


def test_each_positive_is_judged_without_itself(database: Database, image_ids: list[int]) -> None:
    """Three images of different kinds have nothing in common: none of them is found by the other two."""
    with database.connection() as connection:
        fit = row_of(connection, MAKE, [image_ids[0], image_ids[50], image_ids[90]], image_ids[120:125])
    assert fit["recall"] < 0.5


def test_versions_go_back_with_their_vectors(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        row_of(connection, MAKE, image_ids[40:45], [])
        first = _find(connection)
        row_of(connection, MAKE, image_ids[80:100], image_ids[40:45])
        assert _find(connection) != first
        connection.execute("SELECT siglip.use_calibration('kinds', 'second', 1)")
        assert _find(connection) == first
    with pytest.raises(InvalidInputError, match="by example"), database.connection() as connection:
        connection.execute("SELECT siglip.use_calibration('kinds', 'second', 0)")


def test_a_wish_is_tested_on_images_that_the_vector_was_not_made_of(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        row_of(connection, MAKE, image_ids[40:80], image_ids[:40])
        few = row_of(connection, "SELECT * FROM siglip.calibrate('kinds', 'second', min_precision => 0.95)")
        enough = row_of(connection, "SELECT * FROM siglip.calibrate('kinds', 'second', min_precision => 0.7)")
        found = _find(connection)
    assert few["guaranteed_precision"] is None
    assert "Not enough marks yet" in few["note"]
    assert enough["guaranteed_precision"] >= 0.7
    assert len(found & set(image_ids[40:80])) >= 0.7 * len(found) > 0


def test_a_label_by_example_is_left_to_sql_by_workers_and_follows_a_model_change(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    new = dataclasses.replace(INFO, name="new", dimension=32)
    with database.connection() as connection:
        row_of(connection, MAKE, image_ids[40:45], [])
        new_id = add_model(connection, new, is_active=False)
        assert labels.list_missing_labels(connection, new_id) == []
    assert labeling.embed_labels_for_model(database, FakeEmbedder(new), new_id) == 0  # no image is embedded yet
    with database.connection() as connection:
        copy = (
            "INSERT INTO siglip.image_embeddings SELECT %s, e.content_id,"
            " l2_normalize(subvector(e.embedding::vector, 1, 32))::halfvec"
            " FROM siglip.image_embeddings AS e WHERE e.model_id = %s"
        )
        connection.execute(copy.encode(), [new_id, model_id])
        # One of its examples is still to come: the vector would be made without it, and stay so.
        connection.execute(
            "INSERT INTO siglip.ingest_items (image_id, model_id) VALUES (%s, %s)", [image_ids[41], new_id]
        )
    assert labeling.embed_labels_for_model(database, FakeEmbedder(new), new_id) == 0
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.ingest_items WHERE model_id = %s", [new_id])
    assert labeling.embed_labels_for_model(database, FakeEmbedder(new), new_id) == 1
    assert labeling.embed_labels_for_model(database, FakeEmbedder(new), new_id) == 0
    with database.connection() as connection:
        found = rows_of(
            connection, "SELECT image_id FROM siglip.images_with_label('kinds', 'second', model_id => %s)", new_id
        )
        assert len({i for (i,) in found} & set(image_ids[40:80])) >= 20
        # What is marked from now on changes both, as long as both are kept.
        connection.execute("UPDATE siglip.models SET is_kept = true WHERE model_id = %s", [new_id])
        row_of(connection, MAKE, image_ids[45:50], [])
        versions = rows_of(
            connection, "SELECT model_id, version FROM siglip.label_calibrations WHERE is_current ORDER BY 1"
        )
    assert versions == [(model_id, 2), (new_id, 2)]


def test_the_same_marks_give_the_same_vector(database: Database, image_ids: list[int]) -> None:
    vectors = []
    with database.connection() as connection:
        for _ in range(2):
            row_of(connection, MAKE, image_ids[40:45], image_ids[:3])
            vectors += rows_of(connection, "SELECT embedding::text FROM siglip.label_embeddings")
    assert vectors[0] == vectors[1]


def test_all_images_marked_leaves_no_sample_and_works(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        row_of(connection, MAKE, image_ids[40:80], image_ids[:40] + image_ids[80:])
        assert len(_find(connection) & set(image_ids[40:80])) >= 38


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("label_from_images('', 'x', '{1}')", InvalidInputError, "need names"),
        ("label_from_images('kinds', NULL, '{1}')", InvalidInputError, "need names"),
        ("label_from_images('kinds', 'new')", NotFoundError, "No image that is marked"),
        ("label_from_images('kinds', 'new', '{}', '{1,2}')", NotFoundError, "No image that is marked"),
        ("label_from_images('kinds', 'new', '{1}', '{1}')", InvalidInputError, "in two of"),
        ("label_from_images('kinds', 'new', '{9999}')", NotFoundError, "no image 9999"),
        ("label_from_images('words', 'sunset', '{1}')", DatabaseError, "has prompts"),
    ],
)
def test_it_is_said_what_is_wrong_and_nothing_is_left(
    database: Database, image_ids: list[int], call: str, error: type[Exception], message: str
) -> None:
    with database.connection() as connection:
        connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES ('words', '{label}')")
        connection.execute(
            "INSERT INTO siglip.labels (label_set_id, position, label, prompts) VALUES (1, 0, 'sunset', '{x}')"
        )
    with pytest.raises(error, match=message), database.connection() as connection:
        connection.execute(f"SELECT * FROM siglip.{call}".encode())
    with database.connection() as connection:
        assert rows_of(
            connection, "SELECT name, label FROM siglip.label_sets JOIN siglip.labels USING (label_set_id)"
        ) == [("words", "sunset")]


def test_a_client_makes_a_label_from_images(database_url: str, database: Database, image_ids: list[int]) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder(WIDE)) as client:
        fit = client.label_from_images("kinds", "second", image_ids[40:45])
        assert "a sample of all images counts as negatives" in fit.note
        assert client.label_from_images("kinds", "second", negatives=image_ids[:2]).version == 2


def test_it_stands_beside_labels_with_words(database: Database, image_ids: list[int]) -> None:
    embedder = FakeEmbedder(WIDE)
    labeling.create_label_set(database, lambda _: embedder, "kinds", ["first"])
    with database.connection() as connection:
        row_of(connection, MAKE, image_ids[40:45], [])
        assert rows_of(connection, "SELECT label, position FROM siglip.labels ORDER BY position") == [
            ("first", 0),
            ("second", 1),
        ]
        assert len(rows_of(connection, "SELECT * FROM siglip.count_labels('kinds')")) == 2


@pytest.mark.parametrize(
    "change",
    [
        "change_label('kinds', 'second', prompts => '{\"a kind\"}')",
        "create_label_set('kinds', '{second}', replace => true)",
    ],
    ids=["other prompts", "a set that is replaced"],
)
def test_a_label_that_gets_words_has_the_model_s_own_scores(
    database: Database, model_id: int, image_ids: list[int], change: str
) -> None:
    with database.connection() as connection:
        row_of(connection, MAKE, image_ids[40:45], image_ids[80:82])
        connection.execute(f"SELECT siglip.{change}".encode())
    assert labeling.embed_labels_for_model(database, FakeEmbedder(WIDE), model_id) == 1
    vector = "SELECT embedding::text FROM siglip.label_embeddings"
    with database.connection() as connection:
        (of_words,) = rows_of(connection, vector)
        assert rows_of(connection, "SELECT scale, bias, calibration_version FROM siglip.label_rules") == [(1, 0, None)]
    with (
        pytest.raises(DatabaseError, match="when the label 'second' was by example"),
        database.connection() as connection,
    ):
        connection.execute("SELECT siglip.use_calibration('kinds', 'second', 1)")
    with database.connection() as connection:
        assert rows_of(connection, vector) == [of_words]
        assert row_of(connection, "SELECT * FROM siglip.calibrate('kinds', 'second')")["version"] == 2
        connection.execute("SELECT siglip.use_calibration('kinds', 'second', 0)")
