"""What searching and labeling share: the active model, and embedding one query with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from siglip_ingest.db.models import ModelKey, ModelRow, active_model, check_image_settings
from siglip_ingest.db.pool import Connection, Database
from siglip_ingest.errors import ConfigurationError, NotFoundError
from siglip_ingest.types import Embedder, ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EmbedderFactory: TypeAlias = Callable[[ModelKey], Embedder]


def described_model(connection: Connection) -> tuple[ModelRow, ModelInfo]:
    """The active model, which a worker has loaded once.

    Raises:
        NotFoundError: If there is none yet.
    """
    model = active_model(connection)
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


def embed_query(
    database: Database, make_embedder: EmbedderFactory, embed: Callable[[Embedder], NDArray[np.float32]]
) -> tuple[ModelRow, NDArray[np.float32]]:
    """Embed one query under the active model; returns that model and the (D,) float32 unit vector.

    Raises:
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model: vectors of two models can't be compared.
    """
    with database.connection() as connection:
        model, info = described_model(connection)
    embedder = make_embedder(model.key)
    check_same_model(embedder.info, info)
    return model, embed(embedder)[0]


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
