"""An application's own tables, as its own mapped classes."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from siglip_ingest.sqlalchemy import Image

NAMES = ["red shoes", "blue shoes", "a red hat", "a scarf", "gloves", "a coat"]


class Base(DeclarativeBase):
    pass


class Product(Base):
    __tablename__ = "product"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int]
    photo_url: Mapped[str | None]
    image_id: Mapped[int | None] = mapped_column(ForeignKey(Image.image_id, ondelete="SET NULL"))

    image: Mapped[Image | None] = relationship(Image)
