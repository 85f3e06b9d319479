"""The .sql files of the library: each statement is named once, says what it does, and is used; and the loader."""

from __future__ import annotations

import ast
import importlib
import inspect
import re

import pytest

from siglip_ingest.db.connection.statements import Statements
from tests.database.helpers import TOPICS, all_statements


def test_a_file_is_split_at_its_names() -> None:
    statements = Statements("x.sql", "-- About x.\n\n-- name: one\n-- Says 1.\nSELECT 1;\n\n-- name: two\nSELECT\n2;\n")
    assert statements == {"one": b"-- name: one\n-- Says 1.\nSELECT 1;", "two": b"-- name: two\nSELECT\n2;"}
    assert statements.two is statements["two"]


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.sql has two statements named 'one'"):
        Statements("x.sql", "-- name: one\nSELECT 1;\n-- name: one\nSELECT 2;\n")


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match=r"x\.sql has no statement 'on', only one, two\."):
        Statements("x.sql", "-- name: one\nSELECT 1;\n-- name: two\nSELECT 2;\n").on  # noqa: B018


@pytest.mark.parametrize("topic", TOPICS)
def test_a_module_uses_each_statement_of_its_file_and_no_other(topic: str) -> None:
    module = importlib.import_module(f"siglip_ingest.db.{topic}")
    used = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "SQL"
    }
    assert used == set(module.SQL)


def test_each_statement_says_in_sentences_what_it_does() -> None:
    for name, statement in all_statements():
        comment = re.match(r"-- name: \w+\n((?:-- ?.*\n)+)", statement.decode())
        assert comment, name
        assert re.match(r"-- [A-Z].*\.\n\Z", comment[1], flags=re.DOTALL), name
