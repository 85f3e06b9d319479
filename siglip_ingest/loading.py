"""Loading a checkpoint into this process, for whoever embeds here: a client, a worker, `classify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.hub import resolve_checkpoint
from siglip_ingest.settings import Settings

if TYPE_CHECKING:
    from siglip_ingest.embedder import TorchEmbedder


def load_embedder(name: str, settings: Settings) -> TorchEmbedder:
    """Find a checkpoint, fetching it where it must be, and load it onto the settings' device.

    Raises:
        CheckpointError: If there is no such checkpoint, or it can't be fetched or read.
        ConfigurationError: If torch isn't installed, or there is no such device.
    """
    try:
        from siglip_ingest.embedder import TorchEmbedder
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Embedding in this process needs {error.name}, which isn't installed: pip install 'siglip-ingest[model]'."
        ) from error
    return TorchEmbedder.from_checkpoint(
        resolve_checkpoint(name),
        name=name,
        device=settings.device,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
    )
