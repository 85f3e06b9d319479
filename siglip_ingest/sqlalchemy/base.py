"""What the mapped classes share: a base of their own, so that Alembic and `create_all` leave our schema alone."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from typing import NoReturn

from sqlalchemy import DateTime, Double, Interval, LargeBinary, MetaData, Text, Uuid, event
from sqlalchemy.orm import DeclarativeBase

from siglip_ingest.errors import InvalidInputError

SCHEMA = "siglip"


class Base(DeclarativeBase):
    """Base of the mapped classes. Its metadata are its own: those of your application don't know our tables."""

    metadata = MetaData(schema=SCHEMA)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy's
        str: Text,
        float: Double,
        bytes: LargeBinary,
        uuid.UUID: Uuid,
        datetime.datetime: DateTime(timezone=True),
        datetime.timedelta: Interval,
    }


def is_ours(name: str | None, type_: str, parent_names: Mapping[str, str | None]) -> bool:
    """Whether something that Alembic found in the database belongs to this package.

    For `env.py`, with or without `include_schemas=True`:

        context.configure(..., include_name=lambda *found: not is_ours(*found))

    Args:
        name: What it is called; of a schema, None stands for the connection's default one.
        type_: What it is, as Alembic calls it: `schema`, `table`, `column`, `index`, ...
        parent_names: What it is in, as Alembic names it: `schema_name`, perhaps `table_name`.
    """
    return (name if type_ == "schema" else parent_names.get("schema_name")) == SCHEMA


def _refuse(*_: object, **__: object) -> NoReturn:
    raise InvalidInputError(
        "The tables of the schema siglip are made and changed by `siglip-ingest migrate`, and not by SQLAlchemy. For "
        "your own tables call create_all or drop_all of your own metadata."
    )


event.listen(Base.metadata, "before_create", _refuse)
event.listen(Base.metadata, "before_drop", _refuse)
