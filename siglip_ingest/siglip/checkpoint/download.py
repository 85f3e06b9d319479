"""Gives the folder of a checkpoint by its name; downloads it from the Hugging Face hub where it isn't here yet.

huggingface_hub does the work: its cache, locks and progress bars, and its environment (HF_HOME, HF_ENDPOINT, HF_TOKEN,
HF_HUB_OFFLINE). A hub name stays at the commit that was downloaded first under it, until `pull`: workers and clients
that start later, or without a network, load the same weights. This pin is a ref of ours in that cache, so that no other
program moves it and cleaning tools see that the snapshot is in use.
"""

from __future__ import annotations

import errno
import importlib.util
import os
from pathlib import Path

from siglip_ingest.errors import (
    CheckpointError,
    ConfigurationError,
    DownloadError,
    HubUnavailableError,
    InvalidInputError,
)
from siglip_ingest.process import expand_user, how_to_install
from siglip_ingest.siglip.checkpoint.family import MODEL_TYPES
from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE, find_weight_files, read_json
from siglip_ingest.siglip.checkpoint.names import (
    DEMO_FOLDER,
    DEMO_NAME,
    HubName,
    did_you_mean,
    model_name,
    parse_name,
)

DOWNLOADED = ["*.json", "*.safetensors", "spiece.model"]  # never a pickle
_PIN = "siglip_ingest"  # the ref of a plain name; that of NAME@v1 is siglip_ingest@v1


def resolve_checkpoint(name: str) -> Path:
    """Find a checkpoint's folder; download it where it isn't in the hub's cache yet.

    Args:
        name: `demo`, an existing folder (which goes before a hub name that reads the same), or a hub name, alone or
            with `@` and a revision.

    Raises:
        CheckpointError: If it names no checkpoint, or one of another architecture.
        ConfigurationError: If the user has no home folder, and HF_HOME names no other place.
        DownloadError: If it can't be downloaded, and isn't here either.
    """
    name = model_name(name)
    if name == DEMO_NAME:
        if not DEMO_FOLDER.is_dir():
            raise CheckpointError(
                f"The checkpoint {DEMO_NAME!r} comes with siglip_ingest's demo, which isn't here ({DEMO_FOLDER}). Name "
                "a folder or a hub name."
            )
        return DEMO_FOLDER
    if Path(name).is_absolute():
        return Path(name)
    wanted = parse_name(name)
    _require_hub_client(wanted)
    pinned = _find_snapshot(wanted, _pin_of(wanted))
    if pinned is not None and is_complete(pinned):
        return pinned
    try:
        # A pinned snapshot that has lost files is completed, not replaced by what is newest now.
        folder = _download(wanted if pinned is None else HubName(wanted.repository, pinned.name))
    except HubUnavailableError as error:
        cached = find_cached(wanted)
        if cached is None:
            raise
        if not is_complete(cached):
            raise HubUnavailableError(
                f"The cache has only a part of {name} ({cached}). Run `siglip-ingest models pull {name}` with the "
                "network to complete it, HF_HUB_OFFLINE unset."
            ) from error
        return cached
    _write_pin(wanted, folder.name)
    return folder


def pull(name: HubName, *, revision: str | None = None) -> Path:
    """Download the newest commit, or the one that is asked for, and pin the name to it.

    Where HF_HUB_OFFLINE is set, a name that is here stays as it is.

    Args:
        name: What is pinned. One with a revision of its own always means that revision.
        revision: A branch, a tag or a commit for a name without one.

    Returns:
        The folder, which is named by the commit.

    Raises:
        InvalidInputError: If `name` has a revision and `revision` is another one.
        CheckpointError: If it is of another architecture.
        ConfigurationError: If the user has no home folder, and HF_HOME names no other place.
        DownloadError: If it can't be downloaded.
    """
    if revision is not None and name.revision not in {None, revision}:
        raise InvalidInputError(f"{name} already names a revision, and {revision!r} is another one: give one of them.")
    wanted = name if revision is None else parse_name(f"{name.repository}@{revision}")
    _require_hub_client(wanted)
    cached = find_cached(wanted) if _is_offline() else None
    folder = cached if cached is not None and is_complete(cached) else _download(wanted)
    _write_pin(name, folder.name)
    return folder


def find_cached(name: HubName) -> Path | None:
    """Find the snapshot that a name is pinned to, or else the one that other programs of the cache use under it.

    Asks no network. Files may be missing: see `is_complete`.
    """
    return _find_snapshot(name, _pin_of(name)) or _find_snapshot(name, name.revision or "main")


def is_complete(folder: Path) -> bool:
    """True where config.json and all weights are there."""
    try:
        return (folder / CONFIG_FILE).is_file() and bool(find_weight_files(folder))
    except CheckpointError:
        return False


def list_pinned_repositories() -> list[str]:
    """Every repository of which a plain name is pinned, sorted."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob(f"models--*--*/refs/{_PIN}")
    return sorted(ref.parents[1].name.removeprefix("models--").replace("--", "/", 1) for ref in folders)


def has_cache() -> bool:
    """False where huggingface_hub isn't installed, or its cache would be in the home folder of a user without one."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return False
    from huggingface_hub import constants

    return expand_user(constants.HF_HUB_CACHE).parts[:1] != ("~",)


def _require_hub_client(name: HubName) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"{name} is on the hub, and this needs huggingface_hub, which isn't installed: {how_to_install('model')}."
        )
    if not has_cache():
        raise ConfigurationError(
            "Checkpoints from the hub are kept in the user's home folder, but this user has none. Set HF_HOME to a "
            "folder that this user may write."
        )


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _pin_of(name: HubName) -> str:
    """Name the ref that pins a name; a commit needs none."""
    if name.revision is None:
        return _PIN
    return name.revision if name.is_commit else f"{_PIN}@{name.revision}"


def _find_snapshot(name: HubName, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(name.repository, CONFIG_FILE, revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def _write_pin(name: HubName, commit: str) -> None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    if name.is_commit:
        return
    storage = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name.repository, repo_type="model"))
    ref = storage / "refs" / _pin_of(name)
    partial = ref.with_name(f"{ref.name}.{os.getpid()}")
    try:
        ref.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(commit, encoding="ascii")
        partial.replace(ref)
    except OSError as error:
        raise _explain(name, error) from error


def _download(name: HubName) -> Path:
    """Download a revision, its config.json first, and give its folder."""
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download

    try:
        # Asked once: without a network, `hf_hub_download` would try for half a minute.
        timeout_s = constants.HF_HUB_ETAG_TIMEOUT
        commit = HfApi().model_info(name.repository, revision=name.revision, timeout=timeout_s).sha
    except Exception as error:  # the HTTP library, which differs by version, has errors of its own
        raise _explain(name, error, is_first_question=True) from error
    try:
        config = Path(hf_hub_download(name.repository, CONFIG_FILE, revision=commit))
        _require_architecture(config)
        folder = Path(
            snapshot_download(
                name.repository, revision=config.parent.name, allow_patterns=DOWNLOADED, ignore_patterns="*/*"
            )
        )
    except Exception as error:  # the hub's client, its HTTP library and the disk each raise errors of their own
        raise _explain(name, error) from error
    if not is_complete(folder):
        raise DownloadError(
            f"The hub's {name} has no usable weights: neither model.safetensors, nor all the shards that a "
            "model.safetensors.index.json names. Pickled weights (.bin, .pt) can run code when they are opened and are "
            "never downloaded."
        )
    return folder


def _require_architecture(path: Path) -> None:
    """Refuse a config.json of another architecture: before the weights are downloaded, and without torch."""
    model_type = read_json(path).get("model_type", MODEL_TYPES[0])
    if model_type not in MODEL_TYPES:
        raise CheckpointError(
            f"{path}: the checkpoint's model_type is {model_type!r}, expected {' or '.join(map(repr, MODEL_TYPES))}."
        )


def _explain(name: HubName, error: Exception, *, is_first_question: bool = False) -> CheckpointError:
    """Map what huggingface_hub, its HTTP library or the disk raised to an error of ours, to be raised `from` it."""
    from huggingface_hub import constants, errors

    if isinstance(error, CheckpointError):
        return error
    said = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    if sentence := _explain_refusal(name, error, said) or _explain_disk(name, error):
        return DownloadError(sentence)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return HubUnavailableError(
            f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and HF_HUB_OFFLINE forbids downloading it: unset "
            "it."
        )
    if is_first_question:
        return HubUnavailableError(
            f"{name} is not in the cache ({constants.HF_HUB_CACHE}), and the hub at {constants.ENDPOINT} can't be used "
            f"({said}). Connect to the network, or copy the checkpoint here and name its folder."
        )
    return DownloadError(f"{name} could not be downloaded whole: {said}. Try again; files that are whole are kept.")


def _explain_refusal(name: HubName, error: Exception, said: str) -> str | None:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            f"{name.repository} needs its owner's permission: ask for it on its page, then set HF_TOKEN to a token of "
            "yours."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"The hub has no model {name.repository}, or it is private: check the spelling, or set HF_TOKEN."
            + did_you_mean(name.repository)
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f"The hub's {name.repository} has no revision {name.revision!r}. Give a branch, a tag or a commit that its "
            "page lists, or none for the newest."
        )
    if getattr(getattr(error, "response", None), "status_code", None) in {401, 403}:
        return (
            f"The hub refused {name} ({said}). Set HF_TOKEN to a token that may read it, or unset one that is no "
            "longer valid."
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"The hub's {name} has no {CONFIG_FILE}: it is not a SigLIP checkpoint."
    return None


def _explain_disk(name: HubName, error: Exception) -> str | None:
    from huggingface_hub import constants

    number = error.errno if isinstance(error, OSError) else None
    if number in {errno.ENOSPC, errno.EDQUOT}:
        return (
            f"{name} could not be downloaded: the disk of {constants.HF_HUB_CACHE} is full. Free some of it, or set "
            "HF_HOME to a folder on another disk, and try again."
        )
    if number in {errno.EACCES, errno.EPERM, errno.EROFS}:
        place = getattr(error, "filename", None) or constants.HF_HUB_CACHE
        return f"{name} could not be downloaded: {place} can't be written. Set HF_HOME to a folder that can."
    return None
