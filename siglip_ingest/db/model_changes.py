"""Changes of the model: which models are kept beside the active one, how complete they are, and how they compare."""

from __future__ import annotations

from typing import NamedTuple

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.types import CollectionCoverage, ModelComparison, ModelCoverage

SQL = load_statements("model_changes")


class ServedModel(NamedTuple):
    """A model that needs a worker."""

    model_id: int
    name: str


def add_model(connection: Connection, name: str) -> int:
    """Keep a checkpoint beside the active model and queue all images for it; returns its `model_id`.

    Raises:
        InvalidInputError: If it can't be the name of a checkpoint, or the model of that name is external.
        DatabaseError: If a model of that name is being dropped.
    """
    ((model_id,),) = connection.execute(SQL.add_model, {"name": name}).fetchall()
    return int(model_id)


def keep_model(connection: Connection, model_id: int, *, is_kept: bool) -> None:
    """Say whether new images are embedded under a model beside the active one."""
    connection.execute(SQL.keep_model, {"model_id": model_id, "is_kept": is_kept})


def list_kept_models(connection: Connection) -> list[int]:
    """The models that a new image is queued for: the active one, unless it is external, and those beside it."""
    return [model_id for (model_id,) in connection.execute(SQL.list_kept_models)]


def limit_statements(connection: Connection, timeout_s: float) -> None:
    """End each statement of this transaction that takes longer, behind a lock say."""
    connection.execute(SQL.limit_statements, {"timeout_ms": f"{1000 * timeout_s:.0f}"})


def list_served_models(connection: Connection) -> list[ServedModel]:
    """The models that need a worker, the active one first."""
    return [ServedModel(*row) for row in connection.execute(SQL.list_served_models)]


def find_model_id(connection: Connection, model: str | int) -> int:
    """The `model_id` of a model's name or number.

    Raises:
        NotFoundError: If there is none.
    """
    ((model_id,),) = connection.execute(SQL.find_model_id, {"model": str(model)}).fetchall()
    return int(model_id)


def list_coverage(connection: Connection) -> list[ModelCoverage]:
    """How much of all images each model has, oldest first."""
    return [ModelCoverage(*row) for row in connection.execute(SQL.list_coverage)]


def list_collection_coverage(connection: Connection) -> list[CollectionCoverage]:
    """How much of each collection each model has."""
    return [CollectionCoverage(*row) for row in connection.execute(SQL.list_collection_coverage)]


def compare_models(
    connection: Connection,
    model_a: int,
    model_b: int,
    *,
    k: int,
    max_queries: int,
    max_labels: int,
    max_images: int,
    timeout_s: float | None,
) -> list[ModelComparison]:
    """Compare two models by what people asked and marked; see `SiglipClient.compare_models`."""
    connection.execute(SQL.lift_timeout)
    parameters = {"model_a": model_a, "model_b": model_b, "k": k, "max_queries": max_queries}
    parameters |= {"max_labels": max_labels, "max_images": max_images}
    rows = connection.execute(SQL.compare_models, {**parameters, "timeout_s": timeout_s})
    return [ModelComparison(*row) for row in rows]


def switch_model(
    connection: Connection, model_id: int, *, force: bool, keep_old: bool | None, timeout_s: float = 0.0
) -> str:
    """Make a model the active one and queue what it has no item of; returns a sentence.

    Args:
        connection: In a transaction; what it locks is held until that ends.
        model_id: The model.
        force: Whether to switch though images or labels have no vector under it, or no worker has loaded it.
        keep_old: Whether new images are embedded under the model of before too; None leaves that as it is.
        timeout_s: Seconds that what is missing is waited for.

    Raises:
        NotFoundError: If there is no such model, or, without `force`, no worker has loaded it.
        DatabaseError: If, without `force`, it isn't complete; or it is dropped.
    """
    parameters = {"model_id": model_id, "force": force, "keep_old": keep_old, "timeout_s": timeout_s}
    ((sentence,),) = connection.execute(SQL.switch_model, parameters).fetchall()
    return str(sentence)


def drop_model(connection: Connection, model_id: int) -> str:
    """Take a model away that isn't active; its space is freed by `free_dropped`. Returns a sentence.

    Raises:
        NotFoundError: If there is no such model.
        DatabaseError: If it is the active one.
    """
    ((sentence,),) = connection.execute(SQL.drop_model, {"model_id": model_id}).fetchall()
    return str(sentence)


def free_dropped(connection: Connection) -> str | None:
    """Do the next step of freeing the space of dropped models; to be called until it returns None.

    Args:
        connection: In a transaction of its own: what a step locks is held until it ends.
    """
    ((sentence,),) = connection.execute(SQL.free_dropped).fetchall()
    return None if sentence is None else str(sentence)


def is_dropped(connection: Connection, model_id: int) -> bool:
    """Whether a model is being dropped, or gone."""
    ((dropped,),) = connection.execute(SQL.is_dropped, {"model_id": model_id}).fetchall()
    return bool(dropped)
