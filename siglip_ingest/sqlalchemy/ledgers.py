"""Batches of images, workers and measurements as mapped classes, meant for reading."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

from sqlalchemy import ARRAY, REAL, BigInteger, FetchedValue, ForeignKey, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from siglip_ingest.sqlalchemy.base import Base
from siglip_ingest.sqlalchemy.tables import Model


class Ingestion(Base):
    """One row is a batch of images that were queued together; kept for 30 days."""

    __tablename__ = "ingestions"

    ingestion_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"))
    collection: Mapped[str | None]
    is_complete: Mapped[bool] = mapped_column(server_default=FetchedValue())
    created_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    grown_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())

    model: Mapped[Model] = relationship(viewonly=True)
    parts: Mapped[list[IngestionImages]] = relationship(
        back_populates="ingestion", order_by="IngestionImages.part", viewonly=True
    )


class IngestionImages(Base):
    """One row is a part of the images of an ingestion, in the order in which they were given."""

    __tablename__ = "ingestion_images"

    ingestion_id: Mapped[int] = mapped_column(ForeignKey("siglip.ingestions.ingestion_id"), primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    image_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))

    ingestion: Mapped[Ingestion] = relationship(back_populates="parts", viewonly=True)


class Worker(Base):
    """One row is a worker process, which renews `seen_at` several times in `lease_s` seconds."""

    __tablename__ = "workers"

    worker_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"))
    node: Mapped[str] = mapped_column(server_default=FetchedValue())
    lease_s: Mapped[float] = mapped_column(REAL)
    started_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    seen_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    holds_lock: Mapped[bool] = mapped_column(server_default=FetchedValue())

    model: Mapped[Model] = relationship(viewonly=True)


class RecallRecord(Base):
    """One row is one measurement of recall, by siglip.index_recall, siglip.tune_search or siglip.maintain."""

    __tablename__ = "recall_history"

    measurement_id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    measured_at: Mapped[datetime.datetime] = mapped_column(server_default=FetchedValue())
    model_id: Mapped[int] = mapped_column(ForeignKey("siglip.models.model_id"))
    kind: Mapped[str]
    collection: Mapped[str | None]
    filter: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    max_results: Mapped[int]
    index_kind: Mapped[str]
    ef_search: Mapped[int]
    queries: Mapped[int]
    recall: Mapped[float]
    low: Mapped[float]
    high: Mapped[float]
    search_ms: Mapped[float]
    exact_ms: Mapped[float]
    estimated_rows: Mapped[int] = mapped_column(BigInteger)
    target_recall: Mapped[float | None]
    is_chosen: Mapped[bool] = mapped_column(server_default=FetchedValue())

    model: Mapped[Model] = relationship(viewonly=True)
