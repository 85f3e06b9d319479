"""The same with SQLAlchemy's asynchronous sessions, over psycopg's asynchronous connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import selectinload

from siglip_ingest.db import Database
from siglip_ingest.sqlalchemy import Image, embed_text, search_images
from tests.database.helpers import text_vector
from tests.database.listeners import listening
from tests.database.orm.products import NAMES, Product

RunAsync = Callable[[Callable[[AsyncSession], Awaitable[Any]]], Any]


def test_products_are_joined_with_their_scores(run_async: RunAsync, image_ids: list[int]) -> None:
    async def find(session: AsyncSession) -> list[tuple[str, float]]:
        match = search_images("red shoes", limit=3).alias("m")
        query = select(Product, match.c.score).join(match, match.c.image_id == Product.image_id)
        rows = await session.execute(query.order_by(match.c.score.desc()))
        return [(product.name, score) for product, score in rows]

    found = run_async(find)
    assert len(found) == 3
    assert found[0][0] == "red shoes"


def test_relationships_are_loaded_with_their_rows(run_async: RunAsync, image_ids: list[int]) -> None:
    async def load(session: AsyncSession) -> Product:
        query = select(Product).options(selectinload(Product.image).selectinload(Image.embeddings))
        return (await session.scalars(query.where(Product.name == "gloves"))).one()

    product = run_async(load)
    assert product.image is not None
    assert product.image.embeddings[0].embedding == pytest.approx(text_vector("gloves"), abs=1e-3)


def test_vectors_and_texts_are_parameters(run_async: RunAsync, image_ids: list[int]) -> None:
    async def find(session: AsyncSession) -> tuple[int | None, Any]:
        found = search_images(text_vector("a coat"), limit=1)
        return await session.scalar(select(found.c.image_id)), await session.scalar(select(embed_text("a coat")))

    image_id, vector = run_async(find)
    assert image_id == image_ids[5]
    assert vector == pytest.approx(text_vector("a coat"), abs=1e-3)


def test_several_sessions_ask_new_texts_at_once(url: str, database: Database, image_ids: list[int]) -> None:
    async def find() -> list[int]:
        engine = create_async_engine(url, pool_size=8)

        async def ask(number: int) -> int:
            async with AsyncSession(engine) as session:
                rows = await session.execute(select(search_images(f"new text {number}", timeout_s=30)))
                return len(rows.all())

        try:
            return await asyncio.gather(*(ask(number) for number in range(8)))
        finally:
            await engine.dispose()

    with listening(database):
        assert asyncio.run(find()) == [len(NAMES)] * 8
