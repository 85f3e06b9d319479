"""Loads a checkpoint in this process: for a client, a worker, or `classify`."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from siglip_ingest.embedders.settings import EmbedderSettings
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import expand_user, how_to_install
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.types import ModelInfo

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder


def load_embedder(name: str, settings: EmbedderSettings, *, known: ModelInfo | None = None) -> TorchEmbedder:
    """Find a checkpoint, fetching it where it must be, and open it on the settings' device.

    Each tower is read when it is first needed, or by the embedder's `load`.

    Args:
        name: Of the checkpoint.
        settings: Say where and how to compute, and keep what was found out about large weights in their `home`.
        known: What the database knows of it, if anything: where the settings leave it open, a NaFlex model goes on with
            the `max_num_patches` that the database's vectors were made with.

    Raises:
        CheckpointError: If there is no such checkpoint, or it can't be fetched or read.
        ConfigurationError: If torch isn't installed, or there is no such device.
    """
    try:
        from siglip_ingest.siglip.checkpoint.revisions import CACHE_FILE, find_revision
        from siglip_ingest.siglip.embedder import TorchEmbedder
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Embedding in this process needs {error.name}, which isn't installed: {how_to_install('model')}."
        ) from error
    folder = resolve_checkpoint(name)
    max_num_patches = settings.max_num_patches
    if max_num_patches is None and known is not None:
        max_num_patches = known.image_settings.get("max_num_patches")
    return TorchEmbedder.from_checkpoint(
        folder,
        name=name,
        revision=find_revision(
            folder, cache=None if settings.home is None else expand_user(settings.home) / CACHE_FILE
        ),
        device=settings.device,
        dtype=settings.dtype,
        batch_size=settings.batch_size,
        max_num_patches=max_num_patches,
    )


def check_checkpoint(name: str, *, max_num_patches: int | None) -> None:
    """Refuse a checkpoint that a worker couldn't load, as far as its small files tell. Does nothing without torch.

    Raises:
        CheckpointError: If there is no such checkpoint, or its files are missing or don't fit each other.
        ConfigurationError: If `max_num_patches` is given and the checkpoint isn't NaFlex.
    """
    if not has_torch():
        return
    from siglip_ingest.siglip.checkpoint.loading import read_config
    from siglip_ingest.siglip.checkpoint.preprocessing import read_image_settings
    from siglip_ingest.siglip.checkpoint.weights import WeightReader

    folder = resolve_checkpoint(name)
    config = read_config(folder)
    WeightReader(folder)
    read_image_settings(folder, config, max_num_patches=max_num_patches)


def has_torch() -> bool:
    """Whether this process can embed at all; finding out imports nothing."""
    return importlib.util.find_spec("torch") is not None
