from __future__ import annotations

from typing import Any

import psycopg
import pytest

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database
from tests.database.helpers import index_images, make_fake, unit_vectors


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    labeling.create_label_set(database, make_fake, "scenes", ["sunset", "forest"])
    return index_images(database, model_id, unit_vectors(8, seed=3))


def _mark(connection: Connection, **arguments: Any) -> int:
    names = ", ".join(f"{name} => %({name})s" for name in arguments)
    ((count,),) = connection.execute(f"SELECT siglip.mark_images('scenes', 'sunset', {names})".encode(), arguments)
    return int(count)


def _marks(connection: Connection) -> dict[int, tuple[bool, str | None]]:
    rows: list[Any] = connection.execute("SELECT image_id, is_accepted, marked_by FROM siglip.image_labels").fetchall()
    return {image_id: (is_accepted, marked_by) for image_id, is_accepted, marked_by in rows}


def test_marks_are_stored_changed_and_taken_back(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        assert _mark(connection, positives=image_ids[:2], negatives=image_ids[2:3], marked_by="ann") == 3
        assert _mark(connection, positives=image_ids[:2], marked_by="ann") == 0
        assert _mark(connection, positives=image_ids[2:3], unmark=image_ids[:1], marked_by="bob") == 2
        assert _marks(connection) == {image_ids[1]: (True, "ann"), image_ids[2]: (True, "bob")}
        assert _mark(connection, unmark=image_ids) == 2
        assert _marks(connection) == {}


def test_a_mark_is_by_the_role_by_default(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        ((role,),) = connection.execute("SELECT current_user")
        _mark(connection, positives=[image_ids[0], image_ids[0]])
        assert _marks(connection) == {image_ids[0]: (True, role)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"positives": [1], "negatives": [1]}, "more than one"),
        ({"positives": [1], "unmark": [1]}, "more than one"),
        ({"positives": [None]}, "NULL"),
        ({"positives": [10**12]}, "There is no image 1000000000000"),
        ({"negatives": [-1]}, "There is no image -1"),
        ({"positives": [1], "marked_by": " "}, "marked_by is empty"),
        ({"positives": [1], "marked_by": None}, "marked_by is empty"),
    ],
    ids=["both", "and-unmark", "null", "unknown", "negative", "nobody", "null-nobody"],
)
def test_what_can_not_be_marked_is_refused(
    database: Database, image_ids: list[int], arguments: dict[str, Any], message: str
) -> None:
    with database.connection() as connection, pytest.raises(psycopg.Error, match=message):
        _mark(connection, **arguments)
    with database.connection() as connection:
        assert _marks(connection) == {}


def test_nothing_to_mark_is_no_error(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        assert _mark(connection, positives=[], negatives=None) == 0


@pytest.mark.parametrize(("label_set", "label"), [("scenes", "sea"), ("other", "sunset"), (None, None)])
def test_an_unknown_label_is_said(
    database: Database, image_ids: list[int], label_set: str | None, label: str | None
) -> None:
    with database.connection() as connection, pytest.raises(psycopg.errors.NoDataFound, match="There is no label"):
        connection.execute("SELECT siglip.mark_images(%s, %s, '{1}')", [label_set, label])
