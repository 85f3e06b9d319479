"""docs/sqlalchemy.md is run: each block of Python, in order, in one program."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

import siglip_ingest.sqlalchemy as orm
from siglip_ingest.db import Database
from siglip_ingest.labeling import create_label_set
from tests.database.helpers import make_fake
from tests.database.orm.documents import DOCS, code_blocks

DOCUMENT = (DOCS / "sqlalchemy.md").read_text()
BLOCKS = code_blocks("sqlalchemy.md")
(ATTACHED,) = [block for block in BLOCKS if '"search"' in block]
(ENQUEUEING,) = [block for block in BLOCKS if "enqueue_images(" in block]
PROGRAM = [b for b in BLOCKS if not any(w in b for w in ("context.", "op.execute", "siglip@", '"search"', ENQUEUEING))]


@pytest.fixture
def labelled_image(database: Database, image_ids: list[int]) -> int:
    """What the recipes speak of: keys, a label set, and an image that has one of its labels."""
    create_label_set(
        database, make_fake, "scenes", {"sunset": ["red shoes"], "night sky": ["gloves"]}, template="{label}"
    )
    with database.connection() as connection:
        connection.execute("UPDATE siglip.images AS i SET key = p.id FROM product AS p WHERE p.image_id = i.image_id")
        connection.execute(
            "INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, marked_by)"
            " SELECT label_id, %s, true, 'me' FROM siglip.labels WHERE label = 'sunset'",
            [image_ids[0]],
        )
    return image_ids[0]


@pytest.fixture
def names(url: str, labelled_image: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the blocks have defined in the end; what the recipes leave to be imported is there from the beginning."""
    shop = ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", shop)
    names = vars(shop)
    names.update((name, getattr(orm, name)) for name in orm.__all__)
    names["found"] = []
    try:
        for block in PROGRAM:
            code = block.replace("postgresql+psycopg://me@localhost/shop", url)
            exec(compile(code, "docs/sqlalchemy.md", "exec", dont_inherit=True), names)
            with Session(names["engine"]) as session:
                names["found"].append(session.execute(names["query"]).all())
        yield names
    finally:
        names["engine"].dispose()


def test_every_query_runs(names: dict[str, Any]) -> None:
    sizes = [len(rows) for rows in names["found"]]
    # The examples; then the recipes: cheap ones, by the key, (pages), what is alike, labels, what failed.
    assert sizes == [5, 5, 5, 5, 6, 6, 18, 2, 0]


def test_the_first_example_prints_products_best_first(
    capsys: pytest.CaptureFixture[str], names: dict[str, Any]
) -> None:
    assert capsys.readouterr().out.splitlines()[0] == "1.000 red shoes"


def test_the_web_application_answers(names: dict[str, Any]) -> None:
    answer = names["app"].test_client().get("/products", query_string={"q": "a red hat"})
    assert answer.json[0]["name"] == "a red hat"


def test_the_asynchronous_function_answers(names: dict[str, Any]) -> None:
    async def find() -> Any:
        try:
            return await names["find_products"]("gloves")
        finally:
            await names["async_engine"].dispose()

    assert asyncio.run(find())[0]["name"] == "gloves"


def test_the_recipes_are_correct(names: dict[str, Any], labelled_image: int) -> None:
    assert len(names["rows"]) == 2
    assert labelled_image not in [row.image_id for row in names["rows"]]  # it was on the first page
    with Session(names["engine"]) as session:
        assert {row.label for row in session.execute(names["scores"])} == {"sunset", "night sky"}
        assert session.scalars(names["accepted"]).all() == ["file:///product/00000.jpg"]


def test_rows_and_images_are_one_transaction(names: dict[str, Any]) -> None:
    exec(compile(ENQUEUEING, "docs/sqlalchemy.md", "exec", dont_inherit=True), names)
    with Session(names["engine"]) as session:
        hats = session.scalars(select(names["Product"]).where(names["Product"].name.like("% hat"))).all()
        rows = [(hat.name, hat.image.uri, hat.image.ingest_items[0].state) for hat in hats if hat.photo_url]
        assert rows == [
            ("a blue hat", "https://example.com/blue.jpg", "queued"),
            ("a black hat", "https://example.com/black.jpg", "queued"),
        ]


def test_an_attached_tables_rows_are_searched(names: dict[str, Any], labelled_image: int) -> None:
    with Session(names["engine"]) as session, session.begin():
        session.execute(
            text("UPDATE product AS p SET photo_url = i.uri FROM siglip.images AS i WHERE i.image_id = p.image_id")
        )
        attached = names["function"]("attach", attached_table="public.product", uri_column="photo_url")
        session.execute(select(attached)).all()
    with Session(names["engine"]) as session, session.begin():
        session.execute(text("SELECT siglip.follow_attached()"))  # as a worker does it
    exec(compile(ATTACHED, "docs/sqlalchemy.md", "exec", dont_inherit=True), names)
    with Session(names["engine"]) as session:
        rows = session.execute(names["query"].order_by(names["found"].c.score.desc())).all()
        assert rows[0][0].image_id == labelled_image
        assert session.scalars(select(orm.AttachedTable)).one().rows == len(rows)
        assert session.scalars(select(orm.AttachedImage)).first().image.collection == "product"


def test_the_document_names_what_is_public() -> None:
    words = set(DOCUMENT.replace("`", " ").replace("(", " ").replace(",", " ").split())
    assert set(orm.__all__) - words <= {"Base", "HalfVec", "IngestionImages"}
