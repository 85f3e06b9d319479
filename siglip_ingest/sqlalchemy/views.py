"""The views of the schema `siglip` as mapped classes. What SQLAlchemy needs as a key is what tells their rows apart."""

from __future__ import annotations

import datetime
from typing import Any

from sqlalchemy import REAL, BigInteger, ForeignKey, Numeric
from sqlalchemy.dialects.postgresql import JSONB, REGCLASS
from sqlalchemy.orm import Mapped, mapped_column, relationship

from siglip_ingest.sqlalchemy.base import Base
from siglip_ingest.sqlalchemy.tables import Image, Label, Model


class LabelScore(Base):
    """One row is one image x label under the active model. The scores of a set are independent: they don't sum to 1.

    Every row that is read is computed then: name the image or the label.
    """

    __tablename__ = "label_scores"

    image_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("siglip.images.image_id"), primary_key=True)
    label_set: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    similarity: Mapped[float]
    logit: Mapped[float]
    score: Mapped[float]
    calibrated_score: Mapped[float]
    threshold: Mapped[float]
    is_accepted: Mapped[bool]

    image: Mapped[Image] = relationship(viewonly=True)


class LabelRule(Base):
    """One row is how a label decides under a model: yes where sigmoid(scale * logit + bias) reaches the threshold."""

    __tablename__ = "label_rules"

    label_id: Mapped[int] = mapped_column(ForeignKey("siglip.labels.label_id"), primary_key=True)
    label_set_id: Mapped[int] = mapped_column(ForeignKey("siglip.label_sets.label_set_id"))
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"), primary_key=True)
    scale: Mapped[float]
    bias: Mapped[float]
    threshold: Mapped[float]
    calibration_version: Mapped[int | None]

    label: Mapped[Label] = relationship(viewonly=True)
    model: Mapped[Model] = relationship(viewonly=True)


class LabeledImage(Base):
    """One row is a label that an image has, kept by the model or marked by a person, or a mark that it hasn't."""

    __tablename__ = "labeled_images"

    image_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("siglip.images.image_id"), primary_key=True)
    uri: Mapped[str]
    collection: Mapped[str]
    label_set: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    is_accepted: Mapped[bool]
    score: Mapped[float | None] = mapped_column(REAL)
    marked_by: Mapped[str | None]
    model_id: Mapped[int | None]
    updated_at: Mapped[datetime.datetime]
    metadata_: Mapped[Any] = mapped_column("metadata", JSONB)

    image: Mapped[Image] = relationship(viewonly=True)


class LabelCoverage(Base):
    """One row is a label of a kept set, and how far its rows are under the active model."""

    __tablename__ = "label_coverage"

    label_set: Mapped[str] = mapped_column(primary_key=True)
    label: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    state: Mapped[str]
    share: Mapped[float]
    completed_at: Mapped[datetime.datetime | None]


class IndexStatus(Base):
    """One row is one segment of the vectors, and how far its index is."""

    __tablename__ = "index_status"

    segment: Mapped[str] = mapped_column(REGCLASS, primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"))
    model: Mapped[str]
    from_content_id: Mapped[int | None] = mapped_column(BigInteger)
    to_content_id: Mapped[int | None] = mapped_column(BigInteger)
    built_rows: Mapped[int | None] = mapped_column(BigInteger)
    estimated_rows: Mapped[int | None] = mapped_column(BigInteger)
    table_bytes: Mapped[int | None] = mapped_column(BigInteger)
    index_bytes: Mapped[int | None] = mapped_column(BigInteger)
    index_kind: Mapped[str | None]
    state: Mapped[str]
    is_complete: Mapped[bool | None]
    progress_percent: Mapped[float | None] = mapped_column(Numeric(asdecimal=False))
    phase: Mapped[str | None]
    built_at: Mapped[datetime.datetime | None]
    build_s: Mapped[float | None]


class Server(Base):
    """One row is another server that holds segments."""

    __tablename__ = "servers"

    name: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str]
    segments: Mapped[int] = mapped_column(BigInteger)
    estimated_rows: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    unused_tables: Mapped[int | None] = mapped_column(BigInteger)
    is_reachable: Mapped[bool | None]


class ModelCoverage(Base):
    """One row is one model: how many images and labels it has, what is queued, and how long that takes."""

    __tablename__ = "model_coverage"

    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"), primary_key=True)
    model: Mapped[str]
    is_active: Mapped[bool]
    is_kept: Mapped[bool]
    is_external: Mapped[bool]
    state: Mapped[str]
    images: Mapped[int] = mapped_column(BigInteger)
    embedded: Mapped[int] = mapped_column(BigInteger)
    queued: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    not_queued: Mapped[int] = mapped_column(BigInteger)
    share: Mapped[float | None]
    per_s: Mapped[float | None]
    remaining: Mapped[datetime.timedelta | None]
    labels_missing: Mapped[int | None] = mapped_column(BigInteger)
    texts: Mapped[int] = mapped_column(BigInteger)
    workers: Mapped[int] = mapped_column(BigInteger)


class CollectionCoverage(Base):
    """One row is one collection under one model: how many of its images are embedded."""

    __tablename__ = "collection_coverage"

    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"), primary_key=True)
    model: Mapped[str]
    collection: Mapped[str] = mapped_column(primary_key=True)
    images: Mapped[int] = mapped_column(BigInteger)
    embedded: Mapped[int] = mapped_column(BigInteger)
    queued: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    not_queued: Mapped[int] = mapped_column(BigInteger)
    share: Mapped[float | None]
