"""The parts of a query in Python, and what the command line makes of its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image

from siglip_ingest import image, text, vector
from siglip_ingest.cli.composing import WeighedImage, compose_query, describe_query
from siglip_ingest.composing import is_composed, read_terms
from siglip_ingest.errors import InvalidInputError, NotFoundError


def test_a_minus_and_a_number_change_the_weight() -> None:
    assert (-text("people")).weight == -1
    assert (image(42) * 0.7).weight == (np.float32(0.5) * image(42) * 1.4).weight == pytest.approx(0.7)
    assert (-(2 * vector([3, 4]))).weight == -2
    assert (-text("people", 0.5) * 0.5).weight == -0.25
    assert vector([3, 4]).value.tolist() == pytest.approx([0.6, 0.8])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ([0.1, 0.2], False),
        ((1, 2), False),
        ([], False),
        ([None], False),
        (np.zeros(3), False),
        ("beach", False),
        (["beach"], True),
        ([text("beach")], True),
        (-text("beach"), True),
        ((1, "beach"), True),
        ([Path("a.jpg")], True),
        ([Image.new("RGB", (2, 2))], True),
    ],
)
def test_a_list_of_numbers_stays_a_vector(query: Any, expected: bool) -> None:
    assert is_composed(query) is expected


def test_what_stands_in_a_list_becomes_a_term() -> None:
    terms = read_terms(["beach", "https://example.com/a.jpg", Path("a.jpg"), b"...", -text("people"), image(3)])
    assert [term.kind for term in terms] == ["text", "image", "image", "image", "text", "image_id"]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: text(""), "empty"),
        (lambda: text(3), "not int"),  # type: ignore[arg-type]
        (lambda: text("a", 0), "weight"),
        (lambda: text("a", float("nan")), "weight"),
        (lambda: text("a", True), "weight"),
        (lambda: text("a", "1"), "weight"),  # type: ignore[arg-type]
        (lambda: text("a") * 1000, "weight"),
        (lambda: image(True), "whole number"),
        (lambda: image("cat.jpg"), "Path"),
        (lambda: image([1]), "not list"),  # type: ignore[arg-type]
        (lambda: vector([0, 0]), "zero"),
        (lambda: read_terms([-text("people")]), "isn't wanted"),
        (lambda: read_terms(["beach", 42]), r"image\(42\)"),  # type: ignore[list-item]
    ],
)
def test_what_is_no_part_is_refused(make: Any, sentence: str) -> None:
    with pytest.raises(InvalidInputError, match=sentence):
        make()


def test_an_id_that_no_database_holds_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        image(0)


def test_a_term_times_a_text_is_no_term() -> None:
    with pytest.raises(TypeError):
        text("a") * "b"  # type: ignore[operator]


def test_options_of_the_command_line_make_parts() -> None:
    query: Any = compose_query("beach", None, ["at night"], ["people"], [image(42, 0.7)], [image(17)])
    assert [(part if isinstance(part, str) else (part.value, part.weight)) for part in query] == [
        "beach",
        "at night",
        (42, 0.7),
        ("people", -1),
        (17, -1),
    ]
    assert describe_query(query) == "beach, at night, like image 42, not people, not like image 17"


def test_one_part_alone_is_searched_for_as_before() -> None:
    assert compose_query("beach", None, [], [], [], []) == "beach"
    assert compose_query(None, "a.jpg", [], [], [], []) == Path("a.jpg")
    assert compose_query(None, None, [], [], [image(42)], []) == 42
    with pytest.raises(click.UsageError):
        compose_query(None, None, [], ["people"], [], [image(17)])


@pytest.mark.parametrize("typed", ["x", "42:", "42:x", "42:0", "42:-1", "0", ":1"])
def test_an_image_that_is_typed_wrongly_is_refused(typed: str) -> None:
    with pytest.raises(click.BadParameter):
        WeighedImage().convert(typed, None, None)
