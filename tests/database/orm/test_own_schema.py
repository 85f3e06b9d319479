"""pgvector in a schema of its own, in nobody's search_path; and roles with few rights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from siglip_ingest.db import Database
from siglip_ingest.db.schema import migrate
from siglip_ingest.sqlalchemy import HalfVec, Image, ImageEmbedding, Text, embed_text, search_images, similar_images
from tests.database.helpers import text_vector
from tests.database.listeners import listening
from tests.database.orm.products import NAMES


@pytest.fixture(params=["pg_catalog", '"$user", public'], ids=["nothing", "the usual"])
def database_url(empty_database_url: str, request: pytest.FixtureRequest) -> str:
    name = empty_database_url.rpartition("/")[2]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
        connection.execute("CREATE SCHEMA shop")
    migrate(empty_database_url)
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET search_path = {request.param}".encode())
    return empty_database_url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """An application whose tables are in a schema of their own, the only one in its search_path."""
    engine = create_engine(url, connect_args={"options": "-c search_path=shop"})
    yield engine
    engine.dispose()


def test_searches_and_vectors_work(session: Session, database: Database, image_ids: list[int]) -> None:
    for query in ("red shoes", text_vector("red shoes")):
        found = search_images(query, limit=1)
        assert session.scalars(select(found.c.image_id)).one() == image_ids[0]
    assert len(session.execute(select(similar_images(image_ids[0]))).all()) == len(NAMES) - 1
    with listening(database):
        assert session.scalar(select(embed_text("something new"))) == pytest.approx(
            text_vector("something new"), abs=1e-3
        )
    stored = session.scalars(select(ImageEmbedding.embedding).order_by(ImageEmbedding.content_id)).first()
    assert stored is not None
    assert stored.dtype == np.float32
    assert stored == pytest.approx(text_vector("red shoes"), abs=1e-3)


def test_vectors_are_equal_as_parameters_too(session: Session, image_ids: list[int]) -> None:
    vector = text_vector("gloves").tolist()
    session.execute(text("SET search_path = extensions"))
    assert session.scalar(select(Text.query).where(Text.embedding == vector)) == "gloves"
    nearest = select(Text.query).order_by(Text.embedding.max_inner_product(vector)).limit(1)  # type: ignore[attr-defined]
    assert session.scalar(nearest) == "gloves"


def test_a_role_that_may_only_read_searches(session: Session, image_ids: list[int]) -> None:
    session.execute(text("CREATE ROLE siglip_orm_reader"))
    try:
        session.execute(text("GRANT USAGE ON SCHEMA siglip, extensions TO siglip_orm_reader"))
        session.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO siglip_orm_reader"))
        session.execute(text("SET ROLE siglip_orm_reader"))
        assert len(session.execute(select(search_images("red shoes"))).all()) == len(NAMES)
        assert len(session.scalars(select(Image)).all()) == len(NAMES)
        with pytest.raises(ProgrammingError, match="permission denied"):
            session.execute(text("UPDATE siglip.images SET key = 'x'"))
    finally:
        session.rollback()


def test_row_level_security_hides_images_of_searches(session: Session, image_ids: list[int]) -> None:
    session.execute(text("CREATE ROLE siglip_orm_tenant"))
    try:
        session.execute(text("GRANT USAGE ON SCHEMA siglip, extensions TO siglip_orm_tenant"))
        session.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO siglip_orm_tenant"))
        session.execute(text("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY"))
        session.execute(text("CREATE POLICY own ON siglip.images USING (image_id > 3)"))
        session.execute(text("SET ROLE siglip_orm_tenant"))
        found = search_images("red shoes")
        assert set(session.scalars(select(found.c.image_id))) == set(session.scalars(select(Image.image_id)))
        assert session.scalars(select(Image.image_id)).all() == image_ids[3:]
    finally:
        session.rollback()


def test_a_vector_type_compares_whole_vectors() -> None:
    kind = HalfVec()
    assert kind.compare_values(np.ones(2), [1, 1])
    assert not kind.compare_values(np.ones(2), np.array([1, 2]))
    assert not kind.compare_values(np.ones(2), None)
    assert kind.compare_values(None, None)
