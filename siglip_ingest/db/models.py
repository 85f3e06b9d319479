"""The table `siglip.models`: which checkpoints the database has, or can have, vectors of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from psycopg import sql
from psycopg.types.json import Jsonb

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.model_changes import switch_model
from siglip_ingest.errors import ConfigurationError, InvalidInputError, NotFoundError
from siglip_ingest.types import ModelInfo

SQL = load_statements("models")


@dataclass(frozen=True, slots=True)
class ModelKey:
    """One checkpoint revision in one database; every call that compares or stores vectors takes it."""

    model_id: int
    name: str
    revision: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One row of `siglip.models`.

    Attributes:
        model_id: Its key.
        name: Name of the checkpoint.
        revision: Empty until a worker has loaded the checkpoint, unless it was given.
        is_active: True for the model that searches use.
        is_external: True where the vectors come from elsewhere: no worker can load the model.
        is_kept: True where new images are embedded under it beside the active one.
        info: None until a worker has described the model.
        arithmetics: What its workers computed image vectors in, in the order of their first starts: `float32`,
            `bfloat16`, `int8 (ONNX Runtime 1.32.0)`.
    """

    model_id: int
    name: str
    revision: str
    is_active: bool
    is_external: bool
    is_kept: bool
    info: ModelInfo | None
    arithmetics: tuple[str, ...] = ()

    @property
    def key(self) -> ModelKey:
        """The model's key, with its name and revision."""
        return ModelKey(self.model_id, self.name, self.revision)


def register_model(connection: Connection, name: str, revision: str = "") -> int:
    """Find or make the row of a checkpoint; returns its `model_id`.

    Without a revision, that is the active row of that name, else the one described last, else a new one that waits for
    a worker to describe it. With one, it is the row of that revision, else the one of that name that waits, else a new
    one.
    """
    parameters = {"name": name, "revision": revision}
    found = connection.execute(SQL.find_model, parameters).fetchall()
    if not found:
        lock_models(connection)  # two callers must not both add it
        found = connection.execute(SQL.find_model, parameters).fetchall()
    if not found and connection.execute(SQL.is_being_dropped, {"name": name}).fetchone() == (True,):
        raise ConfigurationError(
            f"The model {name!r} is being dropped. Use it once that has ended: `siglip-ingest models drop {name}` "
            "waits for it."
        )
    model_id, *_ = found[0] if found else connection.execute(SQL.insert_model, parameters).fetchall()[0]
    return int(model_id)


def list_kept_revisions(connection: Connection, name: str) -> list[str]:
    """Revisions that new images are embedded under by this name: the active model's, else those that are kept."""
    return [revision for (revision,) in connection.execute(SQL.list_kept_revisions, {"name": name})]


def register_external_model(
    connection: Connection, name: str, dimension: int, logit_scale: float | None, logit_bias: float | None
) -> int:
    """Add a model whose vectors are imported; returns its `model_id`. It becomes the active one where none is.

    Args:
        connection: In a transaction that has called `lock_models`.
        name: Of the model; no other has it.
        dimension: Length of a vector.
        logit_scale: A logarithm, as in a checkpoint; None, like `logit_bias`, where similarities have no scores.
        logit_bias: As in a checkpoint.
    """
    parameters = {"name": name, "dimension": dimension, "logit_scale": logit_scale, "logit_bias": logit_bias}
    ((model_id,),) = connection.execute(SQL.add_external_model, parameters).fetchall()
    return int(model_id)


def find_model(connection: Connection, name: str) -> ModelRow | None:
    """The row of a checkpoint name: the active one, else the one described last, else one that no worker has loaded."""
    row = connection.execute(SQL.find_model, {"name": name, "revision": ""}).fetchone()
    return None if row is None else _one(row)


def describe_model(connection: Connection, model_id: int, info: ModelInfo) -> None:
    """Store what a loaded checkpoint is, and create the partition for its vectors. Doing it again changes nothing.

    Raises:
        NotFoundError: If there is no such row.
        ConfigurationError: If the row describes another checkpoint, or one with other image settings.
    """
    lock_models(connection)
    row = get_model(connection, model_id)
    described = row.info or info
    if row.name != info.name or (described.revision, described.dimension) != (info.revision, info.dimension):
        raise ConfigurationError(
            f"Model {model_id} of the database is {row.name!r} at revision {described.revision!r} with "
            f"{described.dimension} elements, not {info.name!r} at {info.revision!r} with {info.dimension}. Register "
            "the new checkpoint as a model of its own."
        )
    check_image_settings(info, described)
    if row.info is None:
        connection.execute(
            SQL.describe_model,
            {
                "model_id": model_id,
                "revision": info.revision,
                "dimension": info.dimension,
                "logit_scale": info.logit_scale,
                "logit_bias": info.logit_bias,
                "image_settings": Jsonb(dict(info.image_settings)),
                "text_settings": Jsonb(dict(info.text_settings)),
            },
        )
    connection.execute(SQL.create_embedding_partition, {"model_id": model_id, "dimension": info.dimension})


def check_loadable(model: ModelRow, what: str) -> None:
    """Check that a model is one that can be loaded, so that something can be embedded with it.

    Args:
        model: The model.
        what: What is to be embedded, for the message: "a text".

    Raises:
        InvalidInputError: If it is external.
    """
    if model.is_external:
        raise InvalidInputError(
            f"{what[0].upper()}{what[1:]} can't be embedded with the model {model.name!r}: it is external, its vectors "
            "are imported (`import_vectors`), and nothing here can load it. Search by a vector or by an indexed image "
            "(`similar_images`), or change to a model that can be loaded (`siglip-ingest models use NAME`)."
        )


def check_same_model(found: ModelInfo, active: ModelInfo) -> None:
    """Check that an embedder is of the active model, its revision and its image settings included.

    Raises:
        ConfigurationError: If it isn't, or prepares images otherwise than the active model's were.
    """
    check_same_revision(found, active)
    check_image_settings(found, active)


def check_same_revision(found: ModelInfo, active: ModelInfo | ModelKey) -> None:
    """Check that an embedder is of the active model, its revision included.

    Raises:
        ConfigurationError: If it isn't.
    """
    if (found.name, found.revision) != (active.name, active.revision):
        raise ConfigurationError(
            f"The embedder's model is {found.name!r} at revision {found.revision!r}, the database's active one is "
            f"{active.name!r} at {active.revision!r}: their vectors can't be compared. Use the same checkpoint, or "
            "change the active model with `siglip-ingest models use`."
        )


def check_image_settings(found: ModelInfo, stored: ModelInfo) -> None:
    """Check that images are prepared as those were whose vectors the database has.

    Raises:
        ConfigurationError: If they aren't. Settings that only one of the two knows don't count.
    """
    names = sorted(found.image_settings.keys() & stored.image_settings.keys())
    for name in names:
        old, new = stored.image_settings[name], found.image_settings[name]
        if old == new:
            continue
        if name == "max_num_patches":
            raise ConfigurationError(
                f"The database's vectors of {stored.name!r} are made with max_num_patches {old}, but here it is {new}: "
                f"they can't be mixed. Set SIGLIP_MAX_NUM_PATCHES={old} or unset it; for {new}, use another database, "
                "or a copy of the checkpoint in a folder of another name (`siglip-ingest models use`)."
            )
        raise ConfigurationError(
            f"The database's vectors of {stored.name!r} are made with {name} {old}, but preprocessor_config.json says "
            f"{new} now: they can't be mixed. Put the old file back; or name the new checkpoint differently (another "
            "folder) and move to it with `siglip-ingest models use`."
        )


def model_figures(connection: Connection, model_id: int) -> dict[str, Any] | None:
    """What a checkpoint gave for known inputs when a worker first served it, as `verify.check_at_start` returned it.

    Returns:
        None where no worker has stored it yet.
    """
    row = connection.execute(SQL.get_model_figures, {"model_id": model_id}).fetchone()
    return None if row is None else cast("dict[str, Any] | None", row[0])


def store_model_figures(
    connection: Connection, model_id: int, figures: Mapping[str, Any], *, replace: bool = False
) -> dict[str, Any]:
    """Store a checkpoint's figures, unless some are stored already and `replace` is False.

    Returns:
        The figures that are stored now, which may be another worker's.

    Raises:
        NotFoundError: If there is no such row.
    """
    get_model(connection, model_id)
    parameters = {"model_id": model_id, "figures": Jsonb(dict(figures)), "replace": replace}
    row = connection.execute(SQL.store_model_figures, parameters).fetchone()
    return dict(figures) if row is None else cast("dict[str, Any]", row[0])


def add_arithmetic(connection: Connection, model_id: int, arithmetic: str) -> None:
    """Note what a worker computes image vectors in, such as `bfloat16`; what is noted already stays where it is."""
    connection.execute(SQL.add_arithmetic, {"model_id": model_id, "arithmetic": arithmetic})


def get_batch_size(connection: Connection, model_id: int, *, device: str, dtype: str) -> int | None:
    """How many images fit into the memory of such a device at a time, as a worker found; None where none has."""
    parameters = {"model_id": model_id, "device": device, "dtype": dtype}
    row = connection.execute(SQL.get_batch_size, parameters).fetchone()
    return None if row is None else int(row[0])


def store_batch_size(connection: Connection, model_id: int, batch_size: int, *, device: str, dtype: str) -> None:
    """Store how many images fit into the memory of such a device at a time, in place of what was stored before."""
    parameters = {"model_id": model_id, "device": device, "dtype": dtype, "batch_size": batch_size}
    connection.execute(SQL.store_batch_size, parameters)


def lock_models(connection: Connection) -> None:
    """Keep all others from adding, describing or activating a model, and from beginning to write under the active one.

    The lock ends with the transaction, and is taken before all others.
    """
    connection.execute(SQL.lock_models)


def hold_active_model(connection: Connection) -> ModelRow | None:
    """The active model, which stays the active one until the transaction ends: what is written for it is in time."""
    connection.execute(SQL.hold_models)
    return get_active_model(connection)


def activate_model(connection: Connection, model_id: int) -> None:
    """Make a model the one that searches, labels and new images use, and queue every image that it has no vector of.

    Raises:
        NotFoundError: If there is no such model. The one that was active stays so.
    """
    switch_model(connection, model_id, force=True, keep_old=None)


def delete_unused_model(connection: Connection, model_id: int) -> bool:
    """Delete a model that isn't active and has no image vectors, with its partition and what is queued for it.

    Returns:
        Whether it is gone; False where it is active or has vectors, and stays.
    """
    lock_models(connection)
    connection.execute(SQL.lock_model_items, {"model_id": model_id})
    connection.execute(SQL.lock_vectors)
    if connection.execute(SQL.delete_unused_model, {"model_id": model_id}).fetchone() is None:
        return False
    partition = sql.Identifier("siglip", f"image_embeddings_{model_id}")
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(partition))
    function = sql.Identifier("siglip", f"nearest_images_{model_id}")
    connection.execute(sql.SQL("DROP FUNCTION IF EXISTS {}").format(function))
    return True


def get_active_model(connection: Connection) -> ModelRow | None:
    """The model that searches use; None where none is active yet."""
    row = connection.execute(SQL.get_model, {"model_id": None}).fetchone()
    return None if row is None else _one(row)


def described_model(connection: Connection, name: str | None = None) -> tuple[ModelRow, ModelInfo]:
    """The active model, or the one of a name; its vectors' length is known.

    Raises:
        NotFoundError: If no model is active, there is none of that name, or no worker has loaded it.
    """
    model = get_active_model(connection) if name is None else find_model(connection, name)
    if model is None and name is not None:
        raise NotFoundError(
            f"There is no model {name!r} in the database. `siglip-ingest models list` shows what there is."
        )
    if model is None:
        raise NotFoundError(
            "No model is active in this database yet: nothing has been indexed. Index some images first "
            "(`siglip-ingest index`)."
        )
    if model.info is None:
        raise NotFoundError(
            f"The model {model.name!r} has not been loaded by any worker yet. Start one with `siglip-ingest worker` "
            "and wait until it has embedded the first images."
        )
    return model, model.info


def get_model(connection: Connection, model_id: int) -> ModelRow:
    """The row of a `model_id`.

    Raises:
        NotFoundError: If there is none.
    """
    row = connection.execute(SQL.get_model, {"model_id": model_id}).fetchone()
    if row is None:
        raise NotFoundError(
            f"There is no model {model_id} in the database. `siglip-ingest models list` shows what there is."
        )
    return _one(row)


def list_models(connection: Connection) -> list[tuple[ModelRow, int]]:
    """All models, oldest first, each with the number of its vectors."""
    return [(_one(row), embedding_count) for *row, embedding_count in connection.execute(SQL.list_models)]


def _one(row: Sequence[Any]) -> ModelRow:
    model_id, name, revision, is_active, is_external, is_kept, dimension, *figures, images, texts, arithmetics = row
    logit_scale, logit_bias = (math.nan if number is None else number for number in figures)
    info = None if dimension is None else ModelInfo(name, revision, dimension, logit_scale, logit_bias, images, texts)
    return ModelRow(model_id, name, revision, is_active, is_external, is_kept, info, tuple(arithmetics))
