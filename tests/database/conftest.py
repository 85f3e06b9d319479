from __future__ import annotations

from collections.abc import Iterator

import pytest

from siglip_ingest.db import Database
from tests.database.helpers import add_model


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with Database(database_url) as database:
        yield database


@pytest.fixture
def model_id(database: Database) -> int:
    """The active model, described."""
    with database.connection() as connection:
        return add_model(connection)
