"""Images under one model, and a second one that has a vector of each."""

from __future__ import annotations

import pytest

from siglip_ingest.db import Database, model_changes, models
from tests.database.helpers import (
    index_images,
    unit_vectors,
)
from tests.database.model_change.helpers import IMAGES, NEW, embed_queued


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, unit_vectors(IMAGES, seed=1))


@pytest.fixture
def new_id(database: Database, model_id: int, image_ids: list[int]) -> int:
    """A second model, kept, described, with a vector of every image."""
    with database.connection() as connection:
        new_id = model_changes.add_model(connection, NEW.name)
        models.describe_model(connection, new_id, NEW)
    assert embed_queued(database, new_id) == IMAGES
    return new_id
