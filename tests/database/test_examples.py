"""Each function of the schema shows an example in its comment, and each example runs."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from siglip_ingest.db import Database
from tests.conftest import Services, clone_database
from tests.database.example_database import Example, answering, fill_example_database, find_examples, run_example

# Functions that return rows, and whose example finds none, with the reason.
EMPTY = {
    "away_servers": "no server is away",
    "earlier_recall": "nothing was measured before",
    "tune_search": "no segment is so large that it has an index",
}
# Functions that no statement can call by themselves: their example calls what calls them.
CALLED_BY_OTHERS = {
    "replace_segments": "it takes a table that siglip.rebuild_segments has prepared",
    "create_search_settings": "it is a step of siglip.add_server",
}


@pytest.fixture(scope="module")
def filled(services: Services, _template: str) -> Iterator[str]:
    """Name of a filled example database that nobody is connected to."""
    with clone_database(services, _template) as url:
        with Database(url) as database:
            fill_example_database(database)
        yield url.rpartition("/")[2]


@pytest.fixture(scope="module")
def example_url(services: Services, filled: str) -> Iterator[str]:
    """URL of the example database, with workers that answer texts."""
    with clone_database(services, filled) as url, Database(url) as database, answering(database):
        yield url


def _examples(url: str) -> list[Example]:
    with psycopg.connect(url) as connection:
        return find_examples(connection)


def test_every_function_shows_an_example(example_url: str) -> None:
    """The last line of its comment: `Example: ` and one statement."""
    broken = [
        f"{example.function}: {example.comment!r}"
        for example in _examples(example_url)
        if example.comment.count("\nExample: ") != 1
        or "\n" in example.statement
        or not example.statement.endswith(";")
        or not example.sentence.endswith(".")
    ]
    assert broken == []


def test_every_example_calls_its_function(example_url: str) -> None:
    """That of a trigger's function fires it instead."""
    strangers = [
        f"{example.function}: {example.statement}"
        for example in _examples(example_url)
        if not example.is_trigger
        and example.name not in CALLED_BY_OTHERS
        and f"siglip.{example.name}(" not in example.statement
    ]
    assert strangers == []


def test_every_example_runs(example_url: str) -> None:
    """In a transaction that is rolled back; what returns rows returns some."""
    failures = []
    for example in _examples(example_url):
        if example.needs_servers or example.is_procedure:
            continue
        try:
            rows = run_example(example_url, example)
        except psycopg.Error as error:
            failures.append(f"{example.function}\n    {example.statement}\n    {error}")
            continue
        if example.returns_rows and not rows and example.name not in EMPTY:
            failures.append(f"{example.function}\n    {example.statement}\n    returned no row")
    assert not failures, "\n".join(failures)


def test_examples_leave_nothing_behind(example_url: str) -> None:
    with psycopg.connect(example_url) as connection:
        assert connection.execute("SELECT count(*), max(image_id) FROM siglip.images").fetchone() == (40, 40)
        assert connection.execute("SELECT count(*) FROM siglip.models").fetchone() == (2,)


def test_every_procedure_s_example_runs(services: Services, filled: str, example_url: str) -> None:
    """Each in a database of its own, outside of a transaction: a procedure commits."""
    failures = []
    for example in _examples(example_url):
        if not example.is_procedure:
            continue
        with clone_database(services, filled) as url, psycopg.connect(url, autocommit=True) as connection:
            try:
                connection.execute(example.statement.encode())
            except psycopg.Error as error:
                failures.append(f"{example.function}\n    {example.statement}\n    {error}")
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(
    "statement", ["SELECT * FROM siglip.search_images('sunset', collection => 'nowhere');", "SELECT siglip.nothing();"]
)
def test_an_example_that_finds_nothing_or_fails_is_seen(example_url: str, statement: str) -> None:
    found = next(example for example in _examples(example_url) if example.name == "search_images")
    broken = Example(found.function, found.name, found.kind, True, f"{found.sentence}\nExample: {statement}")
    if "nothing" in statement:
        with pytest.raises(psycopg.errors.UndefinedFunction):
            run_example(example_url, broken)
    else:
        assert run_example(example_url, broken) == []


def test_the_example_database_is_what_the_examples_expect(example_url: str) -> None:
    with psycopg.connect(example_url) as connection:
        near = connection.execute("SELECT image_id FROM siglip.images_with_label('scenes', 'sunset', max_results => 3)")
        assert {row[0] for row in near.fetchall()} == {1, 2, 3}
        assert connection.execute("SELECT image_id FROM siglip.similar_images(7, 1)").fetchone() == (8,)
        counts = "SELECT model_id, count(*) FROM siglip.image_embeddings GROUP BY model_id ORDER BY model_id"
        assert connection.execute(counts).fetchall() == [(1, 40), (2, 40)]
        assert connection.execute("SELECT count(*) FROM public.product").fetchone() == (20,)
