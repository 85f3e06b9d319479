"""The tables of the schema `siglip` as mapped classes, meant for reading.

Images come in through `enqueue_images` and leave through `delete_images`, which keep the ledger and the vectors in
step: a row that is added here is embedded by nobody. migrations/schema.sql has every table on one page.
"""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ARRAY, REAL, BigInteger, Computed, FetchedValue, ForeignKey, Identity, Text as TextType
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from siglip_ingest.sqlalchemy.base import Base
from siglip_ingest.sqlalchemy.vectors import HalfVec


class Model(Base):
    """One row is one checkpoint revision; at most one is active."""

    __tablename__ = "models"

    model_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    revision: Mapped[str] = mapped_column(server_default=FetchedValue())
    dimension: Mapped[int | None]
    logit_scale: Mapped[float | None]
    logit_bias: Mapped[float | None]
    image_settings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=FetchedValue())
    text_settings: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=FetchedValue())
    is_active: Mapped[bool] = mapped_column(server_default=FetchedValue())
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    described_at: Mapped[datetime.datetime | None]
    figures: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    is_external: Mapped[bool] = mapped_column(server_default=FetchedValue())
    index_kind: Mapped[str] = mapped_column(server_default=FetchedValue())
    ef_search: Mapped[int | None]
    arithmetics: Mapped[list[str]] = mapped_column(ARRAY(TextType), server_default=FetchedValue())
    is_kept: Mapped[bool] = mapped_column(server_default=FetchedValue())


class Content(Base):
    """One row is one file content, however many images have it."""

    __tablename__ = "contents"

    content_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    content_hash: Mapped[bytes | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    format: Mapped[str | None]
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())

    images: Mapped[list[Image]] = relationship(back_populates="content", viewonly=True)


class Image(Base):
    """One row is one image at one URI in one collection. The column `metadata` is the attribute `metadata_`."""

    __tablename__ = "images"

    image_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    collection: Mapped[str] = mapped_column(server_default=FetchedValue())
    uri: Mapped[str]
    key: Mapped[str | None]
    source_version: Mapped[str | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default=FetchedValue())
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    updated_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    content_id: Mapped[int | None] = mapped_column(ForeignKey("siglip.contents.content_id"))
    reads_exif: Mapped[bool] = mapped_column(server_default=FetchedValue())

    content: Mapped[Content | None] = relationship(back_populates="images", viewonly=True)
    embeddings: Mapped[list[ImageEmbedding]] = relationship(
        primaryjoin="foreign(ImageEmbedding.content_id) == Image.content_id", viewonly=True
    )
    ingest_items: Mapped[list[IngestItem]] = relationship(back_populates="image", viewonly=True)
    image_labels: Mapped[list[ImageLabel]] = relationship(back_populates="image", viewonly=True)


class ImageEmbedding(Base):
    """One row is the unit vector of one content under one model. No foreign keys: the rows may lie on other servers."""

    __tablename__ = "image_embeddings"

    model_id: Mapped[int] = mapped_column(primary_key=True)
    content_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    embedding: Mapped[NDArray[np.float32]] = mapped_column(HalfVec)

    model: Mapped[Model] = relationship(primaryjoin="foreign(ImageEmbedding.model_id) == Model.model_id", viewonly=True)


class Text(Base):
    """One row is the unit vector of one text under one model: a bounded cache of queries and prompts."""

    __tablename__ = "texts"

    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"), primary_key=True)
    text_hash: Mapped[uuid.UUID] = mapped_column(Computed("md5(query)::uuid"), primary_key=True)
    query: Mapped[str]
    embedding: Mapped[NDArray[np.float32] | None] = mapped_column(HalfVec)
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    last_used_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    refusal: Mapped[str | None]
    warning: Mapped[str | None]

    model: Mapped[Model] = relationship(viewonly=True)


class IngestItem(Base):
    """One row is one image to embed under one model: queued, claimed, done or failed."""

    __tablename__ = "ingest_items"

    item_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("siglip.images.image_id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"))
    state: Mapped[str] = mapped_column(server_default=FetchedValue())
    attempts: Mapped[int] = mapped_column(server_default=FetchedValue())
    is_suspect: Mapped[bool] = mapped_column(server_default=FetchedValue())
    not_before: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    lease_token: Mapped[uuid.UUID | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    updated_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    worker_id: Mapped[uuid.UUID | None]

    image: Mapped[Image] = relationship(back_populates="ingest_items", viewonly=True)
    model: Mapped[Model] = relationship(viewonly=True)


class LabelSet(Base):
    """One row is a label set: a named list of labels."""

    __tablename__ = "label_sets"

    label_set_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    template: Mapped[str]
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    is_kept: Mapped[bool] = mapped_column(server_default=FetchedValue())

    labels: Mapped[list[Label]] = relationship(back_populates="label_set", order_by="Label.position", viewonly=True)


class Label(Base):
    """One row is a label of a label set, with the prompts whose mean stands for it."""

    __tablename__ = "labels"

    label_id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    label_set_id: Mapped[int] = mapped_column(ForeignKey("siglip.label_sets.label_set_id"))
    position: Mapped[int]
    label: Mapped[str]
    prompts: Mapped[list[str]] = mapped_column(ARRAY(TextType))
    threshold: Mapped[float | None] = mapped_column(REAL)
    is_by_example: Mapped[bool] = mapped_column(server_default=FetchedValue())

    label_set: Mapped[LabelSet] = relationship(back_populates="labels", viewonly=True)
    image_labels: Mapped[list[ImageLabel]] = relationship(back_populates="label", viewonly=True)


class LabelEmbedding(Base):
    """One row is the unit vector of one label under one model."""

    __tablename__ = "label_embeddings"

    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"), primary_key=True)
    label_id: Mapped[int] = mapped_column(ForeignKey("siglip.labels.label_id"), primary_key=True)
    embedding: Mapped[NDArray[np.float32]] = mapped_column(HalfVec)

    model: Mapped[Model] = relationship(viewonly=True)
    label: Mapped[Label] = relationship(viewonly=True)


class ImageLabel(Base):
    """One row is a label that an image has, by the model; or has or has not, by the mark of a person, which wins."""

    __tablename__ = "image_labels"

    label_id: Mapped[int] = mapped_column(ForeignKey("siglip.labels.label_id"), primary_key=True)
    image_id: Mapped[int] = mapped_column(ForeignKey("siglip.images.image_id"), primary_key=True)
    is_accepted: Mapped[bool]
    score: Mapped[float | None] = mapped_column(REAL)
    model_id: Mapped[int | None]
    marked_by: Mapped[str | None]
    updated_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())

    label: Mapped[Label] = relationship(back_populates="image_labels", viewonly=True)
    image: Mapped[Image] = relationship(back_populates="image_labels", viewonly=True)


class LabelCalibration(Base):
    """One row is one fit of a label's scores under a model. The current one counts."""

    __tablename__ = "label_calibrations"

    label_id: Mapped[int] = mapped_column(ForeignKey("siglip.labels.label_id"), primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    scale: Mapped[float]
    bias: Mapped[float]
    threshold: Mapped[float | None] = mapped_column(REAL)
    is_current: Mapped[bool] = mapped_column(server_default=FetchedValue())
    figures: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=FetchedValue())
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    created_by: Mapped[str] = mapped_column(server_default=FetchedValue())

    label: Mapped[Label] = relationship(viewonly=True)
    model: Mapped[Model] = relationship(viewonly=True)
