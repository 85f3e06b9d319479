"""The name of a checkpoint to a folder with its files, fetched from the hub where it must be.

A hub name stays at the commit that was fetched first under it, until `pull` is called: workers and clients that start
later, or without a network, load the same weights. `name@revision` names a branch, a tag or a commit.
"""

from __future__ import annotations

from pathlib import Path

from siglip_ingest.siglip.checkpoint.hub.download import Fetched, find_or_fetch, pull
from siglip_ingest.siglip.checkpoint.hub.failures import format_bytes
from siglip_ingest.siglip.checkpoint.hub.files import Progress
from siglip_ingest.siglip.checkpoint.names import DEMO_FOLDER, DEMO_NAME, HubName, model_name, parse_name

__all__ = [
    "DEMO_FOLDER",
    "DEMO_NAME",
    "Fetched",
    "HubName",
    "Progress",
    "format_bytes",
    "model_name",
    "parse_name",
    "pull",
    "resolve_checkpoint",
]


def resolve_checkpoint(name: str) -> Path:
    """Find a checkpoint's folder; fetch it from the hub where it isn't in its cache yet.

    The network is asked only for what was never fetched whole. huggingface_hub reads its own environment: HF_HOME,
    HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE. Only JSON, safetensors and tokenizer files are fetched, config.json first, so
    that another architecture is refused early; each is compared with its published size and hash.

    Args:
        name: `demo`, an existing folder (which goes before a hub name that reads the same), or a hub name, alone or
            with `@` and a revision.

    Raises:
        CheckpointError: If it names no checkpoint, or one of another architecture.
        DownloadError: If it can't be fetched.
    """
    name = model_name(name)
    if name == DEMO_NAME:
        return DEMO_FOLDER
    if Path(name).is_absolute():
        return Path(name)
    return find_or_fetch(parse_name(name))
