"""compare_models: queries, marks and labels under two models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from siglip_ingest import labeling
from siglip_ingest.db import Database, model_changes, models
from siglip_ingest.errors import InvalidInputError, NotFoundError
from tests.database.helpers import (
    INFO,
    FakeEmbedder,
    store_text,
    text_vector,
    unit_vectors,
)
from tests.database.model_change.helpers import (
    IMAGES,
    NEW,
    add_labels_and_texts,
    embed_queued,
    fetch,
)


def compare(database: Database, statement: str = "SELECT * FROM siglip.compare_models('fake', 'new/model')") -> Any:
    return {measure: tuple(values) for measure, *values in fetch(database, statement)}


def test_models_are_compared_on_queries_marks_and_labels(
    database: Database, model_id: int, new_id: int, image_ids: list[int]
) -> None:
    add_labels_and_texts(database, model_id, new_id)
    fetch(
        database,
        "INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, marked_by)"
        " SELECT l.label_id, i.image_id, i.image_id <= 3, 'me' FROM siglip.labels AS l, siglip.images AS i"
        " WHERE l.label = 'cat' AND i.image_id <= 6 RETURNING 1",
    )
    found = compare(database)
    assert found["images embedded"][:3] == (IMAGES, IMAGES, IMAGES)
    best = "SELECT image_id FROM siglip.search_images(%s, 10, model_id => %s)"
    both = [[set(fetch(database, best, f"query {n}", m)) for m in (model_id, new_id)] for n in range(10)]
    overlap = np.mean([len(a & b) / 10 for a, b in both])
    assert found["overlap@10 of queries"][:3] == (pytest.approx(overlap), pytest.approx(overlap), 10)
    for position, (info, seed) in enumerate([(INFO, 1), (NEW, 2)]):
        query = text_vector(f"{info.name}: This is a photo of cat.")
        order = np.argsort(-(unit_vectors(IMAGES, seed=seed) @ query)).tolist()
        places = sorted(order.index(n) + 1 for n in range(3))
        marked = [n < 3 for n in order if n < 6]
        precision = np.mean([sum(marked[: n + 1]) / (n + 1) for n in range(6) if marked[n]])
        assert found["rank of marked images"][position] == places[1]
        assert found["recall@10 of marked images"][position] == pytest.approx(sum(place <= 10 for place in places) / 3)
        assert found["average precision of marks"][position] == pytest.approx(precision)
    assert found["rank of marked images"][2] == 3
    assert found["average precision of marks"][2] == 1
    decided = [
        fetch(
            database,
            "SELECT images FROM siglip.count_labels('pets', model_id => %s) ORDER BY label",
            m,
        )
        for m in (model_id, new_id)
    ]
    for position in (0, 1):
        assert found["labels of an image"][position] == pytest.approx(sum(n for (n,) in decided[position]) / IMAGES)
    assert found["label agreement"][2] == 2 * IMAGES
    assert -1 <= found["label agreement, kappa"][0] < found["label agreement"][0] <= 1


def test_a_model_agrees_with_its_twin(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        twin = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, twin, NEW)
    assert embed_queued(database, twin, seed=1) == IMAGES
    labeling.create_label_set(database, lambda _: FakeEmbedder(), "pets", ["cat", "dog"])
    labeling.embed_labels_for_model(database, FakeEmbedder(NEW), twin)
    with database.connection() as connection:
        store_text(connection, model_id, "a sunset")
        store_text(connection, twin, "a sunset", NEW)
    found = compare(database)
    for measure in ("overlap@10 of queries", "same best result", "label agreement"):
        assert found[measure][:2] == (1, 1), measure


def test_where_there_is_nothing_to_compare_it_says_so(database: Database, model_id: int, new_id: int) -> None:
    found = compare(database)
    assert found["overlap@10 of queries"][:3] == (None, None, 0)
    assert "Nobody has asked fake anything yet." in found["overlap@10 of queries"][3]
    assert "marked" in found["recall@10 of marked images"][3]
    assert found["label agreement"][3] == "No label has vectors under both."
    with database.connection() as connection:
        store_text(connection, model_id, "a sunset")
    assert "1 queries have no vector under new/model" in compare(database)["overlap@10 of queries"][3]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        pytest.param("1, 1", InvalidInputError, "with itself", id="itself"),
        pytest.param("1, 2, k => 0", InvalidInputError, "k is 0", id="k"),
        pytest.param("1, 2, k => NULL", InvalidInputError, "k is NULL", id="null"),
        pytest.param("1, 2, max_queries => 0", InvalidInputError, "max_queries is 0", id="queries"),
        pytest.param("1, 2, max_images => -1", InvalidInputError, "max_images is -1", id="images"),
        pytest.param("1, 99", NotFoundError, "no model 99", id="unknown"),
        pytest.param("1, NULL::integer", NotFoundError, "no model", id="no model"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    database: Database, model_id: int, new_id: int, arguments: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        fetch(database, f"SELECT * FROM siglip.compare_models({arguments})")


def test_comparing_with_an_external_model_leaves_labels_out(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    fetch(database, "SELECT siglip.add_external_model('theirs', 16)")
    found = compare(database, "SELECT * FROM siglip.compare_models('fake', 'theirs')")
    assert "label agreement" not in found
    assert found["images embedded"][:2] == (IMAGES, 0)
