from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import pytest
from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from siglip_ingest.db import Database
from tests.database.helpers import index_images, store_text, text_vector
from tests.database.orm.products import NAMES, Base, Product

T = TypeVar("T")


@pytest.fixture
def url(database_url: str) -> str:
    """The database's URL as SQLAlchemy wants it, with the search_path that docs/sqlalchemy.md asks for."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    return url.update_query_dict({"options": "-c search_path=public"}).render_as_string(hide_password=False)


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as session:
        yield session


@pytest.fixture
def run_async(url: str) -> Callable[[Callable[[AsyncSession], Awaitable[T]]], T]:
    """Runs a coroutine function with an asynchronous session, without a plug-in of pytest."""

    def run(work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        async def with_session() -> T:
            engine = create_async_engine(url)
            try:
                async with AsyncSession(engine) as session:
                    return await work(session)
            finally:
                await engine.dispose()

        return asyncio.run(with_session())

    return run


@pytest.fixture
def image_ids(database: Database, model_id: int, engine: Engine) -> list[int]:
    """Images whose vectors are those of their products' names, which are in the cache; and the products' table."""
    ids = index_images(
        database,
        model_id,
        [text_vector(name) for name in NAMES],
        collection="product",
        metadata=[{"number": number} for number in range(len(NAMES))],
    )
    with database.connection() as connection:
        for name in NAMES:
            store_text(connection, model_id, name)
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():
        session.add_all(
            Product(name=name, price=10 * number, image_id=image_id)
            for number, (name, image_id) in enumerate(zip(NAMES, ids, strict=True))
        )
    return ids
