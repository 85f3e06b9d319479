"""Asks where in an image a text matched, under the database's active model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglip_ingest.active_model import EmbedderFactory
from siglip_ingest.db import Database
from siglip_ingest.db.checks import check_query
from siglip_ingest.db.models import check_loadable, check_same_model, described_model
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.locating.location import Location
from siglip_ingest.siglip.scores import score_similarities
from siglip_ingest.types import Locator

if TYPE_CHECKING:
    from PIL import Image


def locate(database: Database, make_embedder: EmbedderFactory, image: Image.Image, text: str) -> Location:
    """Find the parts of a decoded RGB image that made it fit a text.

    Args:
        database: Says which model is active.
        make_embedder: Gives an embedder of it.
        image: Upright, of any size.
        text: As typed.

    Raises:
        InvalidInputError: If the text is empty, the model reads nothing of it, or the active model is external.
        NotFoundError: If no model is active yet.
        ConfigurationError: If the embedder is of another model, or can't locate.
        WorkerUnavailableError: If a worker was to answer, and none did.
    """
    check_query(text)
    with database.connection() as connection:
        model, info = described_model(connection)
    check_loadable(model, "an image")
    embedder = make_embedder(model.key)
    check_same_model(embedder.info, info)
    if not isinstance(embedder, Locator):
        raise ConfigurationError(
            f"The client's embedder, a {type(embedder).__name__}, can't say where a text matches: it has no "
            "`locate_text` (see `siglip_ingest.types.Locator`). Make the client without one of your own."
        )
    located = embedder.locate_text(image, text)
    score = score_similarities(located.similarity, logit_scale=info.logit_scale, logit_bias=info.logit_bias)
    return Location.of(located, score=float(score), image=image)
