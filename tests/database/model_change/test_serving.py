"""Which models workers serve, and with which files."""

from __future__ import annotations

import dataclasses

import pytest

from siglip_ingest import active_model
from siglip_ingest.db import Database, model_changes
from siglip_ingest.errors import ConfigurationError, DatabaseError
from siglip_ingest.services.model_workers import ServedModels
from tests.database.helpers import INFO, claim
from tests.database.model_change.helpers import IMAGES, NEW, fetch, states_of, url_of


def test_a_model_that_is_not_kept_is_served_until_its_last_image_is_done(
    database: Database, model_id: int, new_id: int
) -> None:
    def served() -> list[int]:
        with database.connection() as connection:
            return [model.model_id for model in model_changes.list_served_models(connection)]

    with database.connection() as connection:
        model_changes.keep_model(connection, new_id, is_kept=False)
    assert served() == [model_id]
    fetch(database, "UPDATE siglip.ingest_items SET state = 'queued' WHERE model_id = %s RETURNING 1", new_id)
    assert served() == [model_id, new_id]
    with database.connection() as connection:
        claim(connection, new_id, 100_000)
    assert states_of(database, new_id) == {"claimed": IMAGES}
    assert served() == [model_id, new_id]


def test_a_kept_model_is_not_continued_with_other_files(database: Database, model_id: int, new_id: int) -> None:
    other = dataclasses.replace(NEW, revision="sha256:2")
    with pytest.raises(ConfigurationError, match=f"at revision {NEW.revision}, but .* is revision sha256:2"):
        active_model.enter_model(database, other)
    assert active_model.enter_model(database, NEW) == new_id
    with database.connection() as connection:
        model_changes.keep_model(connection, new_id, is_kept=False)
    assert active_model.enter_model(database, other) not in {model_id, new_id}


def test_who_asks_for_the_models_to_serve_waits_for_no_lock(database: Database, model_id: int) -> None:
    models_of = ServedModels(url_of(database))
    assert models_of() == [INFO.name]
    with database.connection() as connection, connection.transaction():
        connection.execute("LOCK TABLE siglip.models IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError, match="statement timeout"):
            models_of()
    assert models_of() == [INFO.name]
    models_of.close()
