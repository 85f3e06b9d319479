"""Which checkpoint the database's vectors are of: choosing it, and moving to another one."""

from __future__ import annotations

from siglip_ingest.db import Database, items, models
from siglip_ingest.db.models import ModelRow
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.hub import model_name
from siglip_ingest.settings import DEFAULT_MODEL


def check_model(database: Database, requested: str | None) -> ModelRow | None:
    """Return the active model; None where there is none, or an unloaded one that isn't `requested`.

    Raises:
        CheckpointError: If `requested` can't be the name of a checkpoint.
        ConfigurationError: If the database holds vectors of another model than `requested`.
    """
    name = model_name(requested) if requested else None
    with database.connection() as connection:
        active = models.active_model(connection)
    if active is None or name in {None, active.name}:
        return active
    if active.info is not None:
        raise ConfigurationError(
            f"SIGLIP_MODEL asks for {name!r}, but this database's active model is {active.name!r}. Unset "
            f"SIGLIP_MODEL to go on with that one, or change the model with `siglip-ingest models use {name}`."
        )
    return None


def choose_model(database: Database, requested: str | None) -> ModelRow:
    """Return the active model, or make `requested` (by default `DEFAULT_MODEL`) the active one where there is none yet.

    A model that was named but never loaded (a misspelt name, say) gives way to `requested`, and what is queued for it
    moves along. Raises as `check_model` does.
    """
    chosen = check_model(database, requested)
    if chosen is not None:
        return chosen
    with database.connection() as connection:
        unloaded = models.active_model(connection)
        model_id = models.register_model(connection, model_name(requested or DEFAULT_MODEL))
        models.activate_model(connection, model_id)
        if unloaded is not None:
            items.move_queued(connection, from_model_id=unloaded.model_id, to_model_id=model_id)
        return models.get_model(connection, model_id)


def queue_for_model(database: Database, name: str) -> ModelRow:
    """Register a model beside the active one and queue every image that it has no vector of.

    The active model stays what it is, and searches go on with its vectors, until `switch_model`.

    Raises:
        CheckpointError: If `name` can't be the name of a checkpoint.
    """
    with database.connection() as connection:
        model_id = models.register_model(connection, model_name(name))
        items.queue_missing(connection, model_id)
        return models.get_model(connection, model_id)


def switch_model(database: Database, model_id: int) -> None:
    """Make a model the one that searches, labels and new images use."""
    with database.connection() as connection:
        models.activate_model(connection, model_id)
