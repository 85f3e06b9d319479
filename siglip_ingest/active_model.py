"""Chooses the model whose vectors the database searches, embeds queries with it, and moves to another one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from siglip_ingest.db import Connection, Database, items, labels, model_changes, models
from siglip_ingest.db.models import ModelKey, ModelRow
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.siglip.checkpoint.names import model_name
from siglip_ingest.types import Embedder, ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_MODEL = "google/siglip2-base-patch16-224"
LABELS_POLL_S = 0.2
MODEL_CHANGES = 3  # so many times the active model may change while a text or a label set is embedded

EmbedderFactory: TypeAlias = Callable[[ModelKey], Embedder]


def check_model(database: Database, requested: str | None, max_num_patches: int | None = None) -> ModelRow | None:
    """Return the active model; None where there is none, or an unloaded one that isn't `requested`.

    Args:
        database: Says which model is active.
        requested: Name of the checkpoint that is asked for; None for whichever is active.
        max_num_patches: What is asked for of a NaFlex checkpoint; None for what the database's vectors are made with.

    Raises:
        CheckpointError: If `requested` can't be the name of a checkpoint.
        ConfigurationError: If the database holds vectors of another model than `requested`, or made with another
            `max_num_patches`.
    """
    with database.connection() as connection:
        active = models.get_active_model(connection)
    is_active = requested is None or (active is not None and requested == active.name)  # an external one's is any text
    name = None if is_active else model_name(requested or "")
    if active is None or name in {None, active.name}:
        check_patches(active, max_num_patches)
        return active
    if active.info is not None:
        raise ConfigurationError(
            f"SIGLIP_MODEL asks for {name!r}, but this database's active model is {active.name!r}. Unset "
            f"SIGLIP_MODEL to go on with that one, or change the model with `siglip-ingest models use {name}`."
        )
    return None


def choose_model(database: Database, requested: str | None, max_num_patches: int | None = None) -> ModelRow:
    """Return the active model, or make `requested` (by default `DEFAULT_MODEL`) the active one where there is none yet.

    A model that was named but never loaded (a misspelt name, say) gives way to `requested`, and what is queued for it
    moves along. Raises as `check_model` does.
    """
    chosen = check_model(database, requested, max_num_patches)
    if chosen is not None:
        return chosen

    def choose(connection: Connection) -> ModelRow:
        models.lock_models(connection)
        active = models.get_active_model(connection)
        if active is not None and active.info is not None:
            return active  # another caller's, or a worker's, meanwhile
        model_id = models.register_model(connection, model_name(requested or DEFAULT_MODEL))
        if active is not None:
            items.move_queued(connection, from_model_id=active.model_id, to_model_id=model_id)
        models.activate_model(connection, model_id)
        return models.get_model(connection, model_id)

    chosen = database.transact(choose)
    return check_model(database, requested, max_num_patches) or chosen


def enter_model(database: Database, info: ModelInfo, *, arithmetic: str | None = None) -> int:
    """Enter a loaded model into `siglip.models`; makes it the active one where there is none.

    Args:
        database: Where to.
        info: The model.
        arithmetic: What its image vectors will be computed in, such as `bfloat16`; None where none are.

    Returns:
        Its `model_id`.

    Raises:
        ConfigurationError: If the active model, or one that is kept beside it, has this name and another revision, or
            the database's vectors of this revision are made with other image settings, such as another
            `max_num_patches`.
    """

    def enter(connection: Connection) -> int:
        models.lock_models(connection)  # of two workers that start at once, one makes its model the active one
        active = models.get_active_model(connection)
        kept = models.list_kept_revisions(connection, info.name)
        if kept and info.revision not in kept:
            raise ConfigurationError(
                f"The database holds vectors of {info.name!r} at revision {kept[0]}, but the checkpoint here "
                f"is revision {info.revision}: their scores can't be compared. Put the old files back; or name the new "
                "ones differently (another folder) and move to them with `siglip-ingest models use`."
            )
        model_id = models.register_model(connection, info.name, info.revision)
        models.describe_model(connection, model_id, info)
        if arithmetic is not None:
            models.add_arithmetic(connection, model_id, arithmetic)
        if active is None:
            models.activate_model(connection, model_id)
        return model_id

    return database.transact(enter)


def embed_query(
    database: Database, make_embedder: EmbedderFactory, embed: Callable[[Embedder], NDArray[np.float32]]
) -> tuple[ModelRow, NDArray[np.float32]]:
    """Embed one query under the active model; returns that model and the (D,) float32 unit vector.

    Raises:
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model: vectors of two models can't be compared.
    """
    with database.connection() as connection:
        model, info = models.described_model(connection)
    embedder = make_embedder(model.key)
    models.check_same_model(embedder.info, info)
    return model, embed(embedder)[0]


def check_patches(row: ModelRow | None, max_num_patches: int | None) -> None:
    """Check that a model's vectors are, or may be, made with `max_num_patches`; None asks for nothing.

    Raises:
        ConfigurationError: If they are made with another number, or the model isn't NaFlex.
    """
    if row is None or row.info is None or max_num_patches is None:
        return
    stored = row.info.image_settings.get("max_num_patches")
    if stored is None:
        raise ConfigurationError(
            f"SIGLIP_MAX_NUM_PATCHES is {max_num_patches}, but this database's model {row.name!r} is not NaFlex: "
            "its images all have one size. Unset it."
        )
    if stored != max_num_patches:
        raise ConfigurationError(
            f"SIGLIP_MAX_NUM_PATCHES asks for {max_num_patches}, but this database's vectors of {row.name!r} are made "
            f"with {stored}. Unset it to go on with {stored}, or use another database."
        )


def queue_for_model(database: Database, name: str, max_num_patches: int | None = None) -> ModelRow:
    """Keep a model beside the active one and queue every image that it has no vector of, new ones from then on too.

    The active model stays what it is, and searches go on with its vectors, until `switch_model`.

    Raises:
        CheckpointError: If `name` can't be the name of a checkpoint.
        ConfigurationError: If the database's vectors of it are made with another `max_num_patches`. Nothing is queued.
    """

    def queue(connection: Connection) -> ModelRow:
        check_patches(models.find_model(connection, model_name(name)), max_num_patches)
        return models.get_model(connection, model_changes.add_model(connection, model_name(name)))

    return database.transact(queue)


def queue_missing(database: Database, model_id: int) -> int:
    """Queue what has come since `queue_for_model`; returns how many images that are."""
    return database.transact(lambda connection: items.queue_missing(connection, model_id))


def switch_model(
    database: Database, model_id: int, *, wait_for_labels_s: float = 0.0, keep_old: bool | None = None
) -> bool:
    """Make a model the one that searches, labels and new images use, and queue what it has no vectors of yet.

    Args:
        database: Where it is.
        model_id: The model.
        wait_for_labels_s: Seconds that its workers have to give every label a vector under it.
        keep_old: Whether new images are embedded under the model of before too; None leaves that as it is.

    Returns:
        Whether every label has one; workers of the model go on adding them.
    """
    give_up_at = time.monotonic() + wait_for_labels_s

    def switch(connection: Connection) -> bool | None:
        models.lock_models(connection)  # no label can be added now
        is_external = models.get_model(connection, model_id).is_external  # then there are no labels
        is_complete = is_external or not labels.list_missing_labels(connection, model_id)
        if not is_complete and time.monotonic() < give_up_at:
            return None
        model_changes.switch_model(connection, model_id, force=True, keep_old=keep_old)
        return is_complete

    while (is_complete := database.transact(switch)) is None:
        time.sleep(LABELS_POLL_S)
    return is_complete


def give_up_model(database: Database, model_id: int) -> ModelRow | None:
    """Take back what `queue_for_model` did: the model isn't kept any more, and goes where it has no vector yet.

    Returns:
        The active model, if any.
    """

    def give_up(connection: Connection) -> ModelRow | None:
        models.delete_unused_model(connection, model_id)
        model_changes.keep_model(connection, model_id, is_kept=False)
        return models.get_active_model(connection)

    return database.transact(give_up)


def free_dropped(database: Database, on_step: Callable[[str], None] = lambda _: None) -> None:
    """Free the space of dropped models, a transaction for each step, until nothing is left that can be freed now.

    Args:
        database: Where they are.
        on_step: Called with a sentence after each step.
    """
    while (step := database.transact(model_changes.free_dropped)) is not None:
        on_step(step)
