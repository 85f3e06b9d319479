"""What searching and labeling share: the active model, and embedding one query with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from siglip_ingest.db.models import ModelRow, active_model, check_image_settings
from siglip_ingest.db.pool import Connection, Database
from siglip_ingest.errors import ConfigurationError, NotFoundError
from siglip_ingest.types import Embedder, ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    database: Database, make_embedder: Callable[[], Embedder], embed: Callable[[Embedder], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Embed one query with an embedder of the active model; returns its (D,) float32 unit vector.

    Raises:
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model: vectors of two models can't be compared.
    """
    with database.connection() as connection:
        _, info = described_model(connection)
    embedder = make_embedder()
    check_same_model(embedder.info, info)
    embedding: NDArray[np.float32] = embed(embedder)[0]
    return embedding


def check_same_model(found: ModelInfo, active: ModelInfo) -> None:
    """Check that an embedder is of the active model, its revision and its image settings included.

    Raises:
        ConfigurationError: If it isn't, or prepares pictures otherwise than the active model's were.
    """
    if (found.name, found.revision) != (active.name, active.revision):
        raise ConfigurationError(
            f"The embedder's model is {found.name!r} at revision {found.revision!r}, the database's active one is "
            f"{active.name!r} at {active.revision!r}: their vectors can't be compared. Use the same checkpoint, or "
            "change the active model with `siglip-ingest models use`."
        )
    check_image_settings(found, active)
