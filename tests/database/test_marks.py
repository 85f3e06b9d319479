"""Marks: people say which images have a label, and the model gives way."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import pytest

from siglip_ingest.db import Connection, Database
from siglip_ingest.errors import DatabaseError, InvalidInputError, NotFoundError
from tests.database.helpers import index_images, unit_vectors
from tests.database.test_label_sets import ask, role, scenes

__all__ = ["role", "scenes"]  # fixtures

MARK: LiteralString = "SELECT siglip.mark_images('scenes', 'sunset', %s, %s, %s)"


@pytest.fixture
def image_ids(database: Database, model_id: int, scenes: str) -> list[int]:
    return index_images(database, model_id, unit_vectors(20))


def marks(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT image_id, is_accepted, marked_by FROM siglip.labeled_images WHERE marked_by IS NOT NULL ORDER BY 1"
    ).fetchall()


def test_images_are_marked_and_unmarked(database: Database, image_ids: list[int]) -> None:
    a, b, c, *_ = image_ids
    with database.connection() as connection:
        me = ask(connection, "SELECT current_user::text")
        assert ask(connection, MARK, [a, b], [c], None) == 3
        assert marks(connection) == [(a, True, me), (b, True, me), (c, False, me)]
        assert ask(connection, MARK, [c], [a], [b]) == 3
        assert marks(connection) == [(a, False, me), (c, True, me)]
        assert ask(connection, MARK, [], [], [a, c]) == 2
        assert marks(connection) == []
        assert ask(connection, MARK, None, None, [a, c]) == 0
        assert ask(connection, MARK, None, None, None) == 0


def test_the_same_mark_again_is_the_first_one_s(database: Database, image_ids: list[int]) -> None:
    (a, b, *_), again = image_ids, "SELECT siglip.mark_images('scenes', 'sunset', %s, marked_by => 'Ada')"
    with database.connection() as connection:
        assert ask(connection, MARK, [a, a, a], None, None) == 1
        assert ask(connection, again, [a, b]) == 1
        assert [marked_by for _, _, marked_by in marks(connection)][1:] == ["Ada"]
        assert ask(connection, "SELECT siglip.mark_images('scenes', 'sunset', NULL, %s, marked_by => 'Bo')", [a]) == 1
        assert marks(connection)[0] == (a, False, "Bo")


def test_a_mark_takes_the_place_of_what_the_model_decided(
    database: Database, model_id: int, image_ids: list[int]
) -> None:
    a, b, *_ = image_ids
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, score, model_id)"
            " SELECT label_id, i, true, 0.75, %s FROM siglip.labels, unnest(%s::bigint[]) AS i WHERE label = 'sunset'",
            [model_id, [a, b]],
        )
        assert ask(connection, MARK, [a], [b], None) == 2
        rows = connection.execute(
            "SELECT image_id, is_accepted, score FROM siglip.labeled_images ORDER BY 1"
        ).fetchall()
        assert rows == [(a, True, 0.75), (b, False, 0.75)]  # and what the model thought stays


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("positives => '{1}', negatives => '{1}'", InvalidInputError, "The image 1 is in two of"),
        ("positives => '{1}', unmark => '{2,1}'", InvalidInputError, "The image 1 is in two of"),
        ("positives => '{1,999999}'", NotFoundError, "There is no image 999999"),
        ("negatives => '{-1}'", NotFoundError, "There is no image -1"),
        ("unmark => '{999999}'", NotFoundError, "There is no image 999999"),
        ("positives => '{1,NULL}'", NotFoundError, "There is no image NULL"),
        ("positives => '{1}', marked_by => NULL", InvalidInputError, "marked_by is empty"),
        ("positives => '{1}', marked_by => ' '", InvalidInputError, "marked_by is empty"),
    ],
)
def test_a_wrong_mark_marks_nothing(
    database: Database, image_ids: list[int], arguments: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message), database.connection() as connection:
        connection.execute(f"SELECT siglip.mark_images('scenes', 'sunset', {arguments})".encode())
    with database.connection() as connection:
        assert marks(connection) == []


def test_a_mark_goes_with_its_image_and_its_label(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        ask(connection, MARK, image_ids[:3], None, None)
        connection.execute("DELETE FROM siglip.images WHERE image_id = %s", [image_ids[0]])
        assert [image_id for image_id, _, _ in marks(connection)] == image_ids[1:3]
        connection.execute("SELECT siglip.change_label('scenes', 'sunset', 'dusk', '{\"a red sky\"}')")
        assert ask(connection, "SELECT count(*) FROM siglip.labeled_images WHERE label = 'dusk'") == 2
        connection.execute("SELECT siglip.remove_label('scenes', 'dusk')")
        assert marks(connection) == []


def test_two_that_mark_the_same_images_both_succeed(database: Database, image_ids: list[int]) -> None:
    barrier = threading.Barrier(4)

    def mark(caller: int) -> None:
        barrier.wait(30)
        own = image_ids if caller % 2 else image_ids[::-1]
        for n in range(10):
            lists = [own[:10], own[10:], None] if n % 2 else [own[10:], None, own[:10]]
            database.transact(lambda connection, lists=lists: ask(connection, MARK, *lists))  # type: ignore[misc]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(mark, range(4)))
    with database.connection() as connection:
        assert len(marks(connection)) == 20


def test_marks_and_a_changed_set_don_t_stop_each_other(database: Database, image_ids: list[int]) -> None:
    stop = threading.Event()

    def change() -> int:
        rounds = 0
        while not stop.is_set():
            labels = "{sunset,forest}" if rounds % 2 else '{"night sky",sunset}'
            with database.connection() as connection:
                connection.execute("SELECT siglip.create_label_set('scenes', %s, replace => true)", [labels])
            rounds += 1
        return rounds

    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(change)
        try:
            for n in range(40):
                with database.connection() as connection:
                    ask(connection, MARK, image_ids[n % 3 :: 3], image_ids[(n + 1) % 3 :: 3], None)
        finally:
            stop.set()
        assert changing.result(30) > 0
    with database.connection() as connection:
        assert len(marks(connection)) == 20


def test_a_role_may_mark_that_may_not_change_images(
    database: Database, image_ids: list[int], role: tuple[str, Database]
) -> None:
    name, limited = role
    with pytest.raises(DatabaseError, match="permission denied"), limited.connection() as connection:
        ask(connection, MARK, image_ids[:2], None, None)
    with database.connection() as connection:
        connection.execute(f"GRANT INSERT, UPDATE, DELETE ON siglip.image_labels TO {name}".encode())
    with limited.connection() as connection:
        assert ask(connection, MARK, image_ids[:2], image_ids[2:3], None) == 3
        assert ask(connection, MARK, None, None, image_ids[:1]) == 1
        assert [marked_by for _, _, marked_by in marks(connection)] == [name, name]


def test_row_level_security_holds(database: Database, image_ids: list[int], role: tuple[str, Database]) -> None:
    name, limited = role
    with database.connection() as connection:
        ask(connection, MARK, image_ids[:2], None, None)
        connection.execute(f"GRANT INSERT, UPDATE, DELETE ON siglip.image_labels TO {name}".encode())
        connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
        connection.execute(f"CREATE POLICY own ON siglip.images TO {name} USING (image_id > {image_ids[0]})".encode())
    with limited.connection() as connection:
        assert [image_id for image_id, _, _ in marks(connection)] == [image_ids[1]]
    with pytest.raises(NotFoundError, match=f"There is no image {image_ids[0]}"), limited.connection() as connection:
        ask(connection, MARK, None, image_ids[:1], None)
