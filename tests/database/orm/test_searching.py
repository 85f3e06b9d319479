"""Searches as what SQLAlchemy selects from, joined with an application's own tables."""

from __future__ import annotations

import decimal
from typing import Any

import numpy as np
import pytest
from sqlalchemy import bindparam, create_engine, func, literal, select, text, true
from sqlalchemy.exc import DBAPIError, StatementError
from sqlalchemy.orm import Session, aliased

from siglip_ingest.db import Database, search
from siglip_ingest.db.models import get_active_model
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.labeling import create_label_set
from siglip_ingest.sqlalchemy import (
    HalfVec,
    Image,
    ImageEmbedding,
    Text,
    count_images,
    count_labels,
    delete_images,
    embed_text,
    function,
    image_matches,
    images_with_label,
    label_histogram,
    named,
    score,
    search_images,
    similar_images,
)
from siglip_ingest.types import ImageMatch
from tests.database.helpers import make_fake, store_text, text_vector
from tests.database.listeners import listening
from tests.database.orm.products import NAMES, Product

RED = text_vector("red shoes")


def best_first(found: Any) -> Any:
    return select(found).order_by(found.c.similarity.desc(), found.c.image_id)


def test_products_are_joined_with_their_scores(session: Session, image_ids: list[int]) -> None:
    match = search_images("red shoes").alias("m")
    query = select(Product, match.c.score).join(match, match.c.image_id == Product.image_id)
    rows = session.execute(query.order_by(match.c.score.desc())).all()
    assert len(rows) == len(NAMES)
    assert rows[0][0].name == "red shoes"
    assert rows[0].score == pytest.approx(1 / (1 + np.exp(-8)), abs=1e-3)
    assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)


def test_rows_are_those_of_the_client(session: Session, database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        model = get_active_model(connection)
    assert model is not None
    found = session.execute(best_first(search_images("a scarf", limit=4))).all()
    expected = search.find_by_cached_text(database, "a scarf", SearchOptions(limit=4)).matches
    assert expected is not None
    assert [ImageMatch(*row) for row in found] == expected
    assert found[0].metadata == {"number": 3}


@pytest.mark.parametrize(
    "query",
    [
        RED,
        RED.astype(np.float16),
        RED.astype(np.float64) * 7,
        RED.tolist(),
        tuple(RED.tolist()),
        literal(RED, HalfVec),
        bindparam("vector", RED, type_=HalfVec),
        embed_text("red shoes"),
        literal("red shoes"),
        bindparam("words", "red shoes"),
        func.concat("red", " shoes"),
        select(Text.query).where(Text.query == "red shoes").scalar_subquery(),
        select(Text.embedding).where(Text.query == "red shoes").scalar_subquery(),
        select(ImageEmbedding.embedding).where(ImageEmbedding.content_id == 1).scalar_subquery(),
    ],
    ids=lambda query: type(query).__name__,
)
def test_a_query_is_a_text_or_a_vector_or_an_expression(session: Session, image_ids: list[int], query: Any) -> None:
    found = session.execute(best_first(search_images(query, limit=2))).all()
    assert found[0].image_id == image_ids[0]
    assert found[0].similarity == pytest.approx(1, abs=1e-3)


NO_VECTORS = [[], [[1.0, 2.0]], [float("nan")], [float("inf"), 0], ["red"], [object()], np.zeros((2, 3)), 42, None, {}]


@pytest.mark.parametrize("query", NO_VECTORS, ids=range(len(NO_VECTORS)))
def test_what_is_no_vector_is_refused(session: Session, query: Any) -> None:
    with pytest.raises(InvalidInputError, match="vector"):
        search_images(query)
    with pytest.raises(StatementError, match="vector"):
        session.scalar(select(literal([[query]], HalfVec)))


def test_a_vector_needs_no_time(session: Session) -> None:
    with pytest.raises(InvalidInputError, match="timeout_s is for a text"):
        search_images(RED, timeout_s=1)


def test_a_vector_of_another_model_is_refused(session: Session, image_ids: list[int]) -> None:
    with pytest.raises(DBAPIError, match="3 "):
        session.execute(best_first(search_images([1, 2, 3])))


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"limit": 2}, [0, 1]),
        ({"collection": "nothing"}, []),
        ({"collection": literal("product"), "limit": literal(1)}, [0]),
        ({"filter": {"number": 4}}, [4]),
        ({"filter": func.jsonb_build_object("number", 4)}, [4]),
        ({"min_score": 0.99}, [0]),
        ({"image_ids": [1, 3]}, [0, 2]),
        ({"image_ids": np.array([1, 3])}, [0, 2]),
        ({"image_ids": []}, []),
        ({"image_ids": select(Product.image_id).where(Product.price >= 40)}, [4, 5]),
        ({"image_ids": (product_id for product_id in (2,))}, [1]),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_options_narrow_a_search(
    session: Session, image_ids: list[int], options: dict[str, Any], numbers: list[int]
) -> None:
    found = session.execute(best_first(search_images("red shoes", **options))).all()
    if options.keys() == {"limit"}:
        assert len(found) == 2
        assert found[0].image_id == image_ids[0]
    else:
        assert {row.image_id for row in found} == {image_ids[number] for number in numbers}


def test_ids_from_a_select_stand_by_themselves_beside_the_same_table(session: Session, image_ids: list[int]) -> None:
    match = search_images("red shoes", image_ids=select(Product.image_id).where(Product.price < 30)).alias("m")
    query = select(Product.name).join(match, match.c.image_id == Product.image_id)
    assert set(session.scalars(query)) == set(NAMES[:3])
    # SQLAlchemy would take the table out of a SELECT that has another one, too.
    cheap = select(Image.image_id).where(Image.image_id == Product.image_id, Product.price < 30)
    assert set(session.execute(select(Product.id, count_images(image_ids=cheap)).order_by(Product.id)).all()) == {
        (number, 3) for number in range(1, 7)
    }


def test_pages_go_on_behind_a_match(session: Session, image_ids: list[int]) -> None:
    whole = session.execute(best_first(search_images("red shoes"))).all()
    first = session.execute(best_first(search_images("red shoes", limit=2))).all()
    last = first[-1]
    for after in (last, ImageMatch(*last), (last.similarity, last.image_id)):
        second = session.execute(best_first(search_images("red shoes", limit=4, after=after))).all()
        assert [*first, *second] == whole
    assert session.execute(best_first(search_images("red shoes", offset=2))).all() == whole[2:]
    assert session.execute(best_first(search_images("red shoes", after=(1, 10**12)))).all() == whole
    with pytest.raises(InvalidInputError, match="after is a match"):
        search_images("red shoes", after=42)  # type: ignore[arg-type]


def test_two_searches_in_one_statement(session: Session, image_ids: list[int]) -> None:
    shoes, hats = search_images("red shoes").alias("shoes"), search_images("a red hat").alias("hats")
    query = select(shoes.c.image_id, shoes.c.score - hats.c.score).join(hats, hats.c.image_id == shoes.c.image_id)
    differences = {row[0]: row[1] for row in session.execute(query)}
    of_shoes, of_hats = (
        {row.image_id: row.score for row in session.execute(select(search_images(name)))}
        for name in ("red shoes", "a red hat")
    )
    assert differences == {image_id: of_shoes[image_id] - of_hats[image_id] for image_id in image_ids}


def test_a_cached_statement_asks_for_the_new_text(session: Session, image_ids: list[int]) -> None:
    for name, image_id in zip(NAMES, image_ids, strict=True):
        assert session.execute(best_first(search_images(name, limit=1))).one().image_id == image_id
        assert session.scalar(select(embed_text(name))) == pytest.approx(text_vector(name), abs=1e-3)


def test_what_resembles_each_product_is_a_lateral_join(session: Session, image_ids: list[int]) -> None:
    like = similar_images(Product.image_id, limit=2, min_score=0.0).lateral("like")
    other = aliased(Product)
    query = (
        select(Product.name, other.name)
        .select_from(Product)
        .join(like, true())
        .join(other, other.image_id == like.c.image_id)
    )
    rows = session.execute(query).all()
    assert len(rows) == 2 * len(NAMES)
    assert not [row for row in rows if row[0] == row[1]]
    alone = session.execute(best_first(similar_images(image_ids[0], limit=1))).one()
    assert alone.image_id in image_ids[1:]


def test_labels_are_asked_by_functions(session: Session, database: Database, image_ids: list[int]) -> None:
    create_label_set(database, make_fake, "clothes", {"shoes": ["red shoes"], "hat": ["a red hat"]}, template="{label}")
    shoes = images_with_label("clothes", "shoes", min_score=0.99, limit=5, collection="product", filter={"number": 0})
    assert session.execute(select(shoes.c.image_id, shoes.c.uri)).one().image_id == image_ids[0]
    counts = count_labels("clothes", min_score=0.99, collection="product")
    assert set(session.execute(select(counts.c.label, counts.c.images)).all()) == {("shoes", 1), ("hat", 1)}
    bars = label_histogram("clothes", bins=2, collection="product")
    query = select(bars.c.label, func.sum(bars.c.images)).group_by(bars.c.label)
    assert set(session.execute(query).all()) == {("shoes", decimal.Decimal(6)), ("hat", decimal.Decimal(6))}


def test_values_come_from_functions(session: Session, model_id: int, image_ids: list[int]) -> None:
    assert session.scalar(select(score(1.0))) == pytest.approx(1 / (1 + np.exp(-8)))
    assert session.scalar(select(score(literal(1), model_id=model_id))) == pytest.approx(1 / (1 + np.exp(-8)))
    assert session.scalar(select(count_images(collection="product"))) == len(NAMES)
    assert session.scalar(select(count_images(image_ids=select(Product.image_id).where(Product.price < 20)))) == 2
    assert session.scalar(select(delete_images(uris=["file:///product/00000.jpg"]))) == 1
    assert session.scalar(select(delete_images(collection="product", max_images=2))) == 2
    session.rollback()
    assert session.scalar(select(count_images(filter={"number": 0}))) == 1
    assert session.scalar(select(delete_images(image_ids=image_ids[:2]))) == 2
    session.commit()
    assert session.scalar(select(func.count()).select_from(Image)) == len(NAMES) - 2


def test_any_function_takes_its_arguments_by_name(session: Session, image_ids: list[int]) -> None:
    measured = function("index_recall", sample=2, max_results=1, filter=None).table_valued("kind", "recall")
    assert {row.kind: row.recall for row in session.execute(select(measured))} == {"images": 1.0, "texts": 1.0}
    found = image_matches("similar_images", image_id=image_ids[0], max_results=1)
    assert session.scalars(select(found.c.image_id)).one() in image_ids[1:]
    found = image_matches("search_images", query_embedding=RED, filter={"number": 0}, image_ids=[1, 2])
    assert session.scalars(select(found.c.image_id)).one() == image_ids[0]
    assert session.scalar(select(func.siglip.score(named("similarity", 1.0)))) == pytest.approx(1 / (1 + np.exp(-8)))
    hostile = select(func.siglip.score(named('x => 1), pg_sleep(100); --"', 1.0)))
    assert """score("x => 1), pg_sleep(100); --""" + '""" =>' in str(hostile.compile(session.connection()))
    with pytest.raises(DBAPIError, match="does not exist"):
        session.execute(hostile)


HOSTILE = ["'; DROP TABLE product; --", "%(x)s %s %%", ":name", "\\'", '"', "{label}", "é 雪 🙂", "x" * 1200]


@pytest.mark.parametrize("query", HOSTILE, ids=range(len(HOSTILE)))
def test_texts_and_names_are_bound(session: Session, database: Database, model_id: int, query: str) -> None:
    with database.connection() as connection:
        store_text(connection, model_id, query)
    options: dict[str, Any] = {"collection": query, "filter": {query: query}}
    assert session.execute(best_first(search_images(query, **options))).all() == []
    assert session.scalar(select(count_images(collection=query, uris=[query], keys=[query]))) == 0


def test_a_new_text_is_embedded_while_a_transaction_waits(
    session: Session, database: Database, image_ids: list[int]
) -> None:
    session.execute(text("UPDATE product SET price = 1"))
    with listening(database) as listener:
        match = search_images("never asked before", timeout_s=30).alias("m")
        query = select(Product, match.c.score).join(match, match.c.image_id == Product.image_id)
        assert len(session.execute(query).all()) == len(NAMES)
        assert [request.query for request in listener.asked] == ["never asked before"]
        session.rollback()
        session.execute(query)  # the vector stays, whatever becomes of the transaction that asked
    assert len(listener.asked) == 1


def test_a_new_text_without_a_worker_says_what_to_do(session: Session, image_ids: list[int]) -> None:
    with pytest.raises(DBAPIError, match=r"(?s)worker.*HINT"):
        session.execute(best_first(search_images("never asked before", timeout_s=0.2)))


def test_a_new_text_needs_read_committed(url: str, database: Database, image_ids: list[int]) -> None:
    engine = create_engine(url, isolation_level="REPEATABLE READ")
    with listening(database), engine.connect() as connection, pytest.raises(DBAPIError, match="READ COMMITTED"):
        connection.execute(best_first(search_images("never asked before")))
    engine.dispose()
