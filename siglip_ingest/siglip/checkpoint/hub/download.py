"""Fetching a revision from the hub: each file whole, checked, and kept where it stopped if it is interrupted."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from siglip_ingest.errors import CheckpointError, DownloadError, HubUnavailableError, InvalidInputError
from siglip_ingest.siglip.checkpoint.family import MODEL_TYPES
from siglip_ingest.siglip.checkpoint.hub.cache import (
    CachedSnapshot,
    find_cache_folder,
    find_cached,
    find_missing,
    find_pinned,
    find_repository_folder,
    has_weights,
    write_absent,
    write_pin,
)
from siglip_ingest.siglip.checkpoint.hub.failures import explain, explain_unreachable, format_bytes
from siglip_ingest.siglip.checkpoint.hub.files import HubFile, Progress, fetch_file, is_intact, select_files
from siglip_ingest.siglip.checkpoint.names import HubName, parse_name

FETCHED_FILES = ("*.json", "*.safetensors", "spiece.model", "tokenizer.model")  # never a pickle

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A revision that is in the cache, each file as it was published as far as that is known.

    Attributes:
        folder: Its files.
        commit: Its revision: 40 hexadecimal digits.
        files: How many files it has, and `size_bytes` how large they are together.
        size_bytes: See `files`.
        fetched_bytes: How much of that came over the network now.
        repaired: Names of files that were in the cache, but weren't what was published.
        unchecked: Names of files that couldn't be compared with what was published: nobody says what their hash is. A
            cache without links doesn't, nor do some mirrors.
    """

    folder: Path
    commit: str
    files: int
    size_bytes: int
    fetched_bytes: int
    repaired: tuple[str, ...]
    unchecked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Listing:
    commit: str
    files: tuple[HubFile, ...]


def find_or_fetch(name: HubName) -> Path:
    """Give the folder of the revision that a name is pinned to; fetch and pin the newest where there is none yet.

    Raises:
        CheckpointError: If it is of another architecture.
        ConfigurationError: If the user has no home folder, and HF_HOME names no other place.
        DownloadError: If it can't be fetched, and the cache doesn't have it either.
    """
    _check_client(name)
    pinned = find_pinned(name)
    if pinned is not None and pinned.is_whole:
        return pinned.folder
    try:
        # What was pinned and lost some of its files since is completed, not replaced by what is newest now.
        return fetch(name, commit=None if pinned is None else pinned.commit).folder
    except HubUnavailableError as error:
        # What another program put into the cache, or what is left of what was pinned.
        cached = find_cached(name)
        if cached is None or cached.folder.parent.name != "snapshots":
            raise
        if cached.is_whole:
            return cached.folder
        raise HubUnavailableError(_say_what_is_missing(name, cached)) from error


def pull(name: HubName, *, revision: str | None = None, progress: Progress | None = None) -> Fetched:
    """Fetch the newest revision, or the one that is asked for, check each of its files, and pin the name to it.

    Where HF_HUB_OFFLINE is set, what lies in the cache is checked instead.

    Args:
        name: What is pinned. One with a revision of its own always means that revision.
        revision: A branch, a tag or a commit for a name without one.
        progress: Told of every byte.

    Raises:
        InvalidInputError: If `name` has a revision and `revision` is another one.
        CheckpointError: If it is of another architecture.
        DownloadError: If it can't be fetched whole.
    """
    if revision is not None and name.revision not in {None, revision}:
        raise InvalidInputError(f"{name} already names a revision, and {revision!r} is another one: give one of them.")
    _check_client(name)
    wanted = parse_name(f"{name.repository}@{revision}") if revision is not None else name
    cached = find_cached(wanted) if _is_offline() else None
    fetched = fetch(wanted, progress=progress) if cached is None else check_cached(wanted, cached, progress)
    try:
        for pinned in {wanted, name}:
            write_pin(pinned, fetched.commit)
    except OSError as error:
        raise explain(name, error) from error
    return fetched


def fetch(name: HubName, *, commit: str | None = None, progress: Progress | None = None) -> Fetched:
    """Fetch a revision, or what is missing or damaged of it, and pin its name to it.

    Args:
        name: Whose files; its revision decides which, or else the hub does: the newest.
        commit: Fetch this commit, whatever the name's revision is by now.
        progress: Told of every byte.

    Raises:
        CheckpointError: If it is of another architecture.
        DownloadError: If it can't be fetched whole.
    """
    listing = _ask_hub(HubName(name.repository, commit or name.revision))
    try:
        return _fetch_files(name, listing, progress or Progress())
    except Exception as error:  # the hub's client, its HTTP library and the disk each raise errors of their own
        raise explain(name, error) from error


def check_cached(name: HubName, snapshot: CachedSnapshot, progress: Progress | None = None) -> Fetched:
    """Compare a cached revision's files with the hashes that the cache names them by; needs no network.

    A cache without links has files of its own instead, and no hashes: those files are `unchecked`.

    Raises:
        DownloadError: If one differs, or files are missing.
    """
    if not snapshot.is_whole:
        raise DownloadError(_say_what_is_missing(name, snapshot))
    links = sorted(path for path in snapshot.folder.iterdir() if path.is_file())
    files = [(link, HubFile.from_blob(link)) for link in links]
    progress = progress or Progress()
    progress.start(sum(link.stat().st_size for link in links))
    for link, file in files:
        progress.describe(f"Checking {link.name}")
        if not is_intact(link, file, progress.advance):
            raise DownloadError(
                f"{link} is damaged: its content is not what was published. Run `siglip-ingest models pull {name}` "
                "with the network to fetch it again."
            )
    return Fetched(
        snapshot.folder,
        snapshot.commit,
        files=len(links),
        size_bytes=sum(link.stat().st_size for link in links),
        fetched_bytes=0,
        repaired=(),
        unchecked=tuple(file.name for _, file in files if file.digest is None),
    )


def _check_client(name: HubName) -> None:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise CheckpointError(
            f"{name} is on the hub, and this needs huggingface_hub, which isn't installed: "
            "pip install 'siglip-ingest[model]'."
        )
    find_cache_folder()  # where there is none, that is said before the hub is asked


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _ask_hub(name: HubName) -> _Listing:
    """Ask the hub once which commit a name means and which files that has; the client would retry for half a minute.

    Raises:
        HubUnavailableError: If it can't be asked.
        DownloadError: If it refuses.
    """
    from huggingface_hub import HfApi, constants

    try:
        model = HfApi().model_info(
            name.repository, revision=name.revision, timeout=constants.HF_HUB_ETAG_TIMEOUT, files_metadata=True
        )
    except Exception as error:  # the HTTP library, which differs by version, has errors of its own
        raise explain_unreachable(name, error) from error
    if not model.sha:
        raise DownloadError(f"The hub at {constants.ENDPOINT} doesn't say which commit {name} is: it can't be pinned.")
    return _Listing(model.sha, select_files(model.siblings or [], FETCHED_FILES))


def _fetch_files(name: HubName, listing: _Listing, progress: Progress) -> Fetched:
    storage = find_repository_folder(name.repository)
    folder = storage / "snapshots" / listing.commit
    size_bytes = sum(file.size_bytes or 0 for file in listing.files)
    missing_bytes = sum(file.count_missing_bytes(storage, listing.commit) for file in listing.files)
    _check_space(name, storage, missing_bytes)
    if missing_bytes:
        logger.info("Fetching %s at %s: %s.", name, listing.commit, format_bytes(missing_bytes))
    progress.start(size_bytes)
    repaired: list[str] = []
    unchecked: list[str] = []
    fetched_bytes = 0
    if "config.json" not in {file.name for file in listing.files}:
        raise DownloadError(f"The hub's {name} has no config.json: it is not a SigLIP checkpoint.")
    for file in sorted(listing.files, key=lambda file: (file.name != "config.json", file.size_bytes or 0)):
        outcome = fetch_file(name, file, listing.commit, progress)
        fetched_bytes += outcome.fetched_bytes
        repaired += [file.name] if outcome.was_damaged else []
        unchecked += [] if outcome.was_compared else [file.name]
        if file.name == "config.json":
            _check_architecture(folder / "config.json")
    if not has_weights(folder):
        raise DownloadError(
            f"The hub's {name} has no usable weights: neither model.safetensors, nor all the shards that a "
            "model.safetensors.index.json names. Pickled weights (.bin, .pt) can run code when they are opened and are "
            "never fetched."
        )
    write_absent(folder, {file.name for file in listing.files})
    write_pin(name, listing.commit)
    return Fetched(
        folder, listing.commit, len(listing.files), size_bytes, fetched_bytes, tuple(repaired), tuple(unchecked)
    )


def _check_architecture(path: Path) -> None:
    """Raise if a config.json is of another architecture: before the weights are fetched, and without torch."""
    try:
        model_type = json.loads(path.read_text(encoding="utf-8")).get("model_type", MODEL_TYPES[0])
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a JSON object ({error}): it is not a SigLIP checkpoint.") from error
    if model_type not in MODEL_TYPES:
        raise CheckpointError(
            f"{path}: the checkpoint's model_type is {model_type!r}, expected {' or '.join(map(repr, MODEL_TYPES))}."
        )


def _say_what_is_missing(name: HubName, cached: CachedSnapshot) -> str:
    is_snapshot = cached.folder.parent.name == "snapshots"
    missing = f"{cached.folder} has no {find_missing(cached.folder)}" if is_snapshot else "a download was interrupted"
    command = f"`siglip-ingest models pull {name}`"
    return f"The cache has only a part of {name}: {missing}. Run {command} with the network to complete it." + (
        " HF_HUB_OFFLINE forbids that now: unset it." if _is_offline() else ""
    )


def _check_space(name: HubName, storage: Path, missing_bytes: int) -> None:
    """Raise before anything is fetched if it can't fit."""
    existing = next(folder for folder in (storage, *storage.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if missing_bytes > free:
        raise DownloadError(
            f"{name} needs {format_bytes(missing_bytes)} more, but the disk of {existing} has {format_bytes(free)} "
            "free. Free some of it, or set HF_HOME to a folder on another disk."
        )
