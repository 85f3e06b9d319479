"""Tables of the user that siglip.attach keeps in step with a collection, and their images."""

from __future__ import annotations

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Text
from sqlalchemy.dialects.postgresql import REGCLASS
from sqlalchemy.orm import Mapped, mapped_column, relationship

from siglip_ingest.sqlalchemy.base import Base
from siglip_ingest.sqlalchemy.tables import Image


class AttachedTable(Base):
    """One row is one attached table: keys that wait to be looked at, rows with images, and how far these are."""

    __tablename__ = "attached_tables"

    attachment_id: Mapped[int] = mapped_column(primary_key=True)
    attached_table: Mapped[str] = mapped_column(REGCLASS)
    id_columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    uri_column: Mapped[str]
    metadata_columns: Mapped[list[str]] = mapped_column(ARRAY(Text))
    collection: Mapped[str]
    rows_waiting: Mapped[int] = mapped_column(BigInteger)
    rows: Mapped[int] = mapped_column(BigInteger)
    images: Mapped[int] = mapped_column(BigInteger)
    embedded: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    problem: Mapped[str | None]

    attached_images: Mapped[list[AttachedImage]] = relationship(
        primaryjoin="AttachedTable.attachment_id == foreign(AttachedImage.attachment_id)", viewonly=True
    )


class AttachedImage(Base):
    """One row is one image of one row of an attached table; several rows may share an image."""

    __tablename__ = "attached_images"

    attachment_id: Mapped[int] = mapped_column(primary_key=True)
    row_key: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("siglip.images.image_id"))

    image: Mapped[Image] = relationship(viewonly=True)
