"""The name of a checkpoint to a folder with its files, fetched from the hub where it must be."""

from __future__ import annotations

import os
import re
from pathlib import Path

from siglip_ingest.errors import CheckpointError, DownloadError

DEMO_NAME = "demo"
DEMO_FOLDER = Path(__file__).parent / "demo" / "checkpoint"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FETCHED_FILES = ("*.json", "*.safetensors", "spiece.model")


def model_name(name: str) -> str:
    """Give the one name that the database keeps for a checkpoint: a folder's becomes its absolute path.

    Raises:
        CheckpointError: If it can't be the name of a checkpoint.
    """
    if name == DEMO_NAME:
        return name
    folder = Path(os.path.expanduser(name))  # noqa: PTH111  (Path's own raises for an unknown user)
    if name and folder.is_dir():
        return str(folder.resolve())
    if HUB_NAME.fullmatch(name):
        return name
    raise CheckpointError(
        f"{name!r} names no checkpoint. Give an existing folder with config.json and model.safetensors, a hub name "
        f"such as google/siglip2-base-patch16-224, or {DEMO_NAME} for the small one that comes along."
    )


def resolve_checkpoint(name: str) -> Path:
    """Find a checkpoint's folder; fetch it from the hub where it isn't in its cache yet.

    huggingface_hub does the fetching and reads its own environment: HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
    Only JSON, safetensors and tokenizer files are fetched, config.json first, so that another architecture is refused
    early.

    Args:
        name: `demo`, an existing folder (which goes before a hub name that reads the same), or a hub name.

    Raises:
        CheckpointError: If it names no checkpoint, or one of another architecture.
        DownloadError: If it can't be fetched.
    """
    name = model_name(name)
    if name == DEMO_NAME:
        return DEMO_FOLDER
    if Path(name).is_absolute():
        return Path(name)
    return _fetch(name)


def _fetch(name: str) -> Path:
    try:
        from huggingface_hub import hf_hub_download, snapshot_download
    except ImportError as error:
        raise CheckpointError(
            f"Fetching {name} needs huggingface_hub, which isn't installed: pip install 'siglip-ingest[model]'."
        ) from error
    from siglip_ingest.model.checkpoint import find_weight_files, read_config

    problem = _find_problem(name)
    try:
        config = hf_hub_download(name, "config.json", local_files_only=problem is not None)
        read_config(Path(config).parent)
        folder = Path(
            snapshot_download(
                name,
                allow_patterns=list(FETCHED_FILES),
                ignore_patterns=["*/*"],
                local_files_only=problem is not None,
            )
        )
    except CheckpointError:
        raise
    except Exception as error:  # the hub's client, its HTTP library and the disk each raise errors of their own
        raise DownloadError(_describe(name, error) if problem is None else problem) from error
    try:
        find_weight_files(folder)
    except CheckpointError as error:
        raise DownloadError(
            f"The hub's {name} has no usable weights, or the cache has only a part of it: {error}"
        ) from error
    return folder


def _find_problem(name: str) -> str | None:
    """Ask the hub once whether it has a model; its client would try an unreachable hub for half a minute.

    Returns:
        Why nothing can be fetched now, to be said if the cache doesn't have the model either; None if all is well.

    Raises:
        DownloadError: If the hub answered and refuses the model.
    """
    from huggingface_hub import HfApi, constants, errors

    try:
        HfApi().model_info(name, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(_describe(name, error)) from error
    except errors.OfflineModeIsEnabled:
        return (
            f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids fetching it: unset it."
        )
    except Exception as error:  # noqa: BLE001  the client's HTTP library, which differs by version, has errors of its own
        return (
            f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and the hub at {constants.ENDPOINT} can't be used "
            f"({_first_line(error)}). Connect to the network, or copy the checkpoint here and name its folder."
        )
    return None


def _describe(name: str, error: Exception) -> str:
    """Say in a sentence what the hub's client raised and what to do."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{name} needs its owner's permission: ask for it on its page, then set HF_TOKEN to a token of yours."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"The hub has no model {name}, or it is private: check the spelling, or set HF_TOKEN."
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"The hub's {name} has no config.json: it is not a SigLIP checkpoint."
    return f"{name} could not be fetched whole: {_first_line(error)}. Try again; what has arrived is kept."


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
