"""A user's program with SQLAlchemy is checked against the package's types."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

PROGRAM = """
import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import ForeignKey, func, select, true
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from siglip_ingest.sqlalchemy import Image, ImageLabel, LabelScore, count_images, embed_text, images_with_label
from siglip_ingest.sqlalchemy import named, score, search_images, similar_images


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    image_id: Mapped[int | None] = mapped_column(ForeignKey(Image.image_id))
    image: Mapped[Image | None] = relationship(Image)


match = search_images("red shoes", limit=5, filter={"album": "2026"}, after=(0.5, 1)).alias("match")
query = select(Product, match.c.score).join(match, match.c.image_id == Product.image_id)
search_images(np.ones(16, dtype=np.float16), image_ids=select(Product.image_id))
search_images([0.1, 0.2], image_ids=[1, 2], min_score=func.random())
search_images(Product.name, collection=Product.name)
like = similar_images(Product.image_id, limit=3).lateral()
images_with_label("scenes", "sunset", min_score=0.5)
select(func.siglip.score(named("similarity", 0.5)))


def read(session: Session) -> None:
    image: Image = session.scalars(select(Image)).one()
    metadata: dict[str, Any] = image.metadata_
    when: datetime.datetime = image.created_at
    marks: list[ImageLabel] = image.image_labels
    names: Sequence[str] = session.scalars(select(LabelScore.label).where(LabelScore.score > 0.5)).all()
    count: int | None = session.scalar(select(count_images(collection="product")))
    best: float | None = session.scalar(select(score(0.5)))
    vector = session.scalar(select(embed_text("red shoes")))
    if vector is not None:
        print(vector.dtype, metadata, when, marks, names, count, best)
    for product, value in session.execute(query):
        print(product.name.upper(), value)


async def read_async(session: AsyncSession) -> list[str]:
    found = await session.execute(select(Product.name).join(like, true()))
    return [row.name for row in found]
"""

WRONG = [
    pytest.param('search_images("a", limt=5)', "limt", id="a misspelt parameter"),
    pytest.param("search_images(None)", "arg-type", id="nothing"),
    pytest.param('search_images("a", limit="5")', "arg-type", id="a limit as text"),
    pytest.param('search_images("a", after=5)', "arg-type", id="an id as a place"),
    pytest.param('similar_images("42")', "arg-type", id="an id as text"),
    pytest.param("Image.ury", "ury", id="a misspelt column"),
]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.py").write_text(PROGRAM)
    calls = "\n".join(str(parameter.values[0]) for parameter in WRONG)
    imported = "from siglip_ingest.sqlalchemy import Image, search_images, similar_images"
    (folder / "wrong.py").write_text(f"{imported}\n{calls}\n")
    cache = Path(__file__).parents[2] / ".mypy_cache"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "program.py", "wrong.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout.splitlines()


def test_a_users_program_is_fully_typed(errors: list[str]) -> None:
    assert errors[-1].startswith("Found ")  # mypy ran, and found the wrong calls
    assert [line for line in errors if line.startswith("program.py")] == []


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[str(parameter.id) for parameter in WRONG])
def test_wrong_calls_are_type_errors(errors: list[str], number: int) -> None:
    found = [line for line in errors if line.startswith(f"wrong.py:{number + 2}:")]
    assert any(str(WRONG[number].values[1]) in line for line in found), found
