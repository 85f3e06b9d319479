"""Arguments that are refused before PostgreSQL is asked; the databases here don't exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from siglip_ingest import labeling, search
from siglip_ingest.db import Database
from siglip_ingest.db.checks import check_image_id, check_limit, check_mapping, check_min_score, is_whole_number
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.ingest import ImageSource, enqueue_images

NOBODY = Database("postgresql://127.0.0.1:1/none")
VECTOR = np.ones(4, np.float32)
NOT_TEXT = {"nul": "a\0b", "half a character": "a\ud83e", "the other half": "\udd84"}
NOT_JSON = {
    "nul in a value": ({"a": "x\0"}, r"\['a'\] holds a character that isn't text"),
    "nul in a key": ({"x\0": 1}, r"The key 'x\\x00' of \w+ holds a character"),
    "nul after a backslash": ({"\\\0": 1}, "holds a character"),
    "half a character, nested": ({"a": [1, {"b": "\ud83e"}]}, r"\['a'\]\[1\]\['b'\] holds a character"),
    "half a character in a nested key": ({"a": {"\ud83e": 1}}, r"The key '\\ud83e' of \w+\['a'\] holds"),
    "nan": ({"a": float("nan")}, r"\['a'\] is nan, which JSON doesn't have"),
    "infinity, nested": ({"a": [0, -np.inf]}, r"\['a'\]\[1\] is -inf, which JSON doesn't have"),
    "a set": ({"a": {1}}, "can't be written as JSON"),
    "a list": ([1], "must be a mapping such as"),
    "text": ("album", "must be a mapping such as"),
}
SEARCHES: dict[str, Callable[..., object]] = {
    "text": lambda **options: search.search_by_text(NOBODY, _no_embedder, "a cat", SearchOptions(**options)),
    "image": lambda **options: search.search_by_image(NOBODY, _no_embedder, None, SearchOptions(**options)),  # type: ignore[arg-type]
    "embedding": lambda **options: search.search_by_embedding(NOBODY, VECTOR, SearchOptions(**options)),
    "similar": lambda **options: search.similar_images(NOBODY, 1, SearchOptions(**options)),
}


def _no_embedder() -> Any:
    raise AssertionError("nothing may be embedded")


def _nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.fixture(params=SEARCHES.values(), ids=SEARCHES.keys())
def find(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(("filter_", "sentence"), NOT_JSON.values(), ids=NOT_JSON.keys())
def test_a_filter_that_postgresql_refuses_is_refused_here(find: Any, filter_: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match="filter") as caught:
        find(filter=filter_)
    assert caught.match(sentence)


@pytest.mark.parametrize("collection", [*NOT_TEXT.values(), "", " ", 5], ids=ascii)
def test_a_collection_that_cannot_be_is_refused(find: Any, collection: Any) -> None:
    with pytest.raises(InvalidInputError, match="collection"):
        find(collection=collection)
    with pytest.raises(InvalidInputError, match="collection"):
        enqueue_images(NOBODY, b"image", model_id=1, collection=collection)


@pytest.mark.parametrize(("metadata", "sentence"), NOT_JSON.values(), ids=NOT_JSON.keys())
def test_metadata_that_postgresql_refuses_are_refused_here(metadata: Any, sentence: str) -> None:
    for call in (
        lambda: enqueue_images(NOBODY, b"image", model_id=1, metadata=metadata),
        lambda: enqueue_images(NOBODY, [ImageSource(b"image", metadata=metadata)], model_id=1),
    ):
        with pytest.raises(InvalidInputError, match="metadata") as caught:
            call()
        assert caught.match(sentence)


@pytest.mark.parametrize("key", [*NOT_TEXT.values(), 1.5, True, b"a"], ids=ascii)
def test_a_key_that_cannot_be_is_refused(key: Any) -> None:
    with pytest.raises(InvalidInputError, match="A key"):
        enqueue_images(NOBODY, ImageSource(b"image", key=key), model_id=1)


@pytest.mark.parametrize(
    "source", ["http://host/a\0", "http://host/\ud83e", "/a\0.jpg", "/\ud83e.jpg", "file:///a%00.jpg"], ids=ascii
)
def test_an_address_or_a_path_that_cannot_be_is_refused(source: str) -> None:
    with pytest.raises(InvalidInputError, match=r"isn't a complete address|can't be the path"):
        enqueue_images(NOBODY, source, model_id=1)


@pytest.mark.parametrize("text", NOT_TEXT.values(), ids=NOT_TEXT.keys())
def test_names_labels_and_queries_that_are_no_text_are_refused(text: str) -> None:
    def create(name: str, labels: Any, template: str = "{label}") -> None:
        labeling.create_label_set(NOBODY, _no_embedder, name, labels, template=template)

    calls: list[Callable[[], object]] = [
        lambda: create(text, ["cat"]),
        lambda: create("pets", ["cat", text]),
        lambda: create("pets", {"cat": [text]}),
        lambda: create("pets", {"cat": ["a cat"]}, template="{label}" + text),
        lambda: labeling.label_scores_of_image_id(NOBODY, 1, text),
        lambda: labeling.label_scores_of_image(NOBODY, _no_embedder, None, text),  # type: ignore[arg-type]
        lambda: labeling.delete_label_set(NOBODY, text),
        lambda: search.search_by_text(NOBODY, _no_embedder, text),
    ]
    for call in calls:
        with pytest.raises(InvalidInputError, match="isn't text"):
            call()


def test_what_json_and_postgresql_hold_is_taken() -> None:
    for values in (None, {}, {"\\u0000": ["\\\\u0000", "\U0001f984", -1e308, None, True]}, {1: {"a": _nested(100)}}):
        check_mapping(values, "metadata")
    with pytest.raises(InvalidInputError, match="nested too deeply"):
        check_mapping({"a": _nested(100_000)}, "metadata")


@pytest.mark.parametrize("number", [5, np.int64(5), np.int32(5), np.uint8(5)], ids=lambda number: type(number).__name__)
def test_numpys_integers_are_whole_numbers(number: Any) -> None:
    assert is_whole_number(number)
    for checked in (check_limit(number), check_image_id(number)):
        assert type(checked) is int
        assert checked == 5


@pytest.mark.parametrize("score", [0.5, np.float32(0.5), np.float64(0.5)], ids=lambda score: type(score).__name__)
def test_numpys_floats_are_scores(score: Any) -> None:
    assert type(check_min_score(score)) is float
    assert check_min_score(score) == 0.5
    assert check_min_score(np.int64(1)) == 1.0


@pytest.mark.parametrize("value", [True, np.bool_(True), 5.0, np.float32(5), "5", None], ids=repr)
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    for check, what in ((check_limit, "limit"), (check_image_id, "image_id")):
        with pytest.raises(InvalidInputError, match=f"{what} must be a whole number"):
            check(value)


@pytest.mark.parametrize("value", [True, np.bool_(True), "0.5", 1.5, -0.1, float("nan")], ids=repr)
def test_what_is_no_score_is_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="min_score must be a number from 0 to 1"):
        check_min_score(value)


@pytest.mark.parametrize("image_id", [0, -1, 2**63, np.int64(-5)], ids=str)
def test_an_id_that_no_database_holds_is_not_found(image_id: Any) -> None:
    with pytest.raises(NotFoundError, match="There is no image"):
        check_image_id(image_id)
