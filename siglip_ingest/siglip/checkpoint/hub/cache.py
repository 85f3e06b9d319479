"""What of a repository lies in huggingface_hub's cache, and the commit that its name is pinned to.

The cache's layout is documented (https://huggingface.co/docs/huggingface_hub/guides/manage-cache): `blobs/` has files
named by their hash, `snapshots/<commit>/` links to them under their own names, `refs/` has a file for each name of a
commit, `.no_exist/<commit>/` an empty one for each file that the hub is known not to have. Our pins are refs too, so
that whoever cleans up the cache sees that the snapshot is in use.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.checkpoint.names import HubName

PIN_FOLDER = "siglip_ingest"
_PINNED = "pinned"
# A checkpoint has config.json, weights, and one file of each of these two kinds, whatever the rest is named. Some lack
# one, as classifiers lack a tokenizer: where the hub's listing says so, `.no_exist` says it from then on.
_NEEDED_KINDS = (
    ("preprocessor_config.json", "processor_config.json"),
    ("spiece.model", "tokenizer.json", "tokenizer.model"),
)
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class CachedSnapshot:
    """A revision that lies in the cache.

    Attributes:
        folder: Its files.
        commit: Its revision: 40 hexadecimal digits.
        is_whole: False where files are missing, of an interrupted download for instance, or because another program
            fetched only what it needed itself.
        is_pinned: True where the name stays at this commit.
    """

    folder: Path
    commit: str
    is_whole: bool
    is_pinned: bool

    @property
    def size_bytes(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.folder.iterdir() if path.is_file())


def has_cache_folder() -> bool:
    """False where huggingface_hub's cache would be in the home folder of a user who has none."""
    from huggingface_hub import constants

    return expand_user(constants.HF_HUB_CACHE).parts[:1] != ("~",)


def find_cache_folder() -> Path:
    """Where huggingface_hub's cache is; nothing need be there.

    Raises:
        ConfigurationError: If it would be in the home folder of a user who has none.
    """
    from huggingface_hub import constants

    if not has_cache_folder():
        raise ConfigurationError(
            "Checkpoints from the hub are kept in the user's home folder, but this user has none. Set HF_HOME to a "
            "folder that this user may write."
        )
    return expand_user(constants.HF_HUB_CACHE)


def find_repository_folder(repository: str) -> Path:
    """Where the cache keeps a repository; nothing need be there.

    Raises:
        ConfigurationError: As for `find_cache_folder`.
    """
    return find_cache_folder() / f"models--{repository.replace('/', '--')}"


def find_pinned(name: HubName) -> CachedSnapshot | None:
    """The snapshot that a name was pinned to when it was fetched; None where it never was, or its folder is gone."""
    refs = find_repository_folder(name.repository) / "refs"
    pins = refs / PIN_FOLDER
    if name.is_commit:
        commit = name.revision if name.revision in set(_read_all(pins)) else None
    else:
        commit = _read(pins / _PINNED if name.revision is None else pins / "revisions" / name.revision)
    if not commit:
        return None
    folder = refs.parent / "snapshots" / commit
    return CachedSnapshot(folder, commit, is_whole=find_missing(folder) is None, is_pinned=True)


def find_cached(name: HubName) -> CachedSnapshot | None:
    """The pinned snapshot, or else the one that other programs of this cache would use under that name."""
    if pinned := find_pinned(name):
        return pinned
    storage = find_repository_folder(name.repository)
    commit = name.revision if name.is_commit else _read(storage / "refs" / (name.revision or "main"))
    folder = storage / "snapshots" / commit if commit else None
    if folder is not None and folder.is_dir() and commit:
        return CachedSnapshot(folder, commit, is_whole=find_missing(folder) is None, is_pinned=False)
    if any((storage / "blobs").glob("*")):
        return CachedSnapshot(storage / "blobs", commit or "", is_whole=False, is_pinned=False)
    return None


def list_pinned_repositories() -> list[str]:
    """Every repository of which this package has pinned a revision, sorted."""
    folders = find_cache_folder().glob(f"models--*--*/refs/{PIN_FOLDER}/{_PINNED}")
    return sorted(folder.parents[2].name.removeprefix("models--").replace("--", "/", 1) for folder in folders)


def write_pin(name: HubName, commit: str) -> None:
    """Keep a name at a commit.

    Raises:
        OSError: If the cache can't be written.
    """
    refs = find_repository_folder(name.repository) / "refs"
    pins = refs / PIN_FOLDER
    _write(pins / _PINNED if name.revision is None else pins / "revisions" / name.revision, commit)
    if not name.is_commit:
        _write(refs / (name.revision or "main"), commit)  # as huggingface_hub does: others find the files offline


def has_weights(folder: Path) -> bool:
    """True where config.json and every safetensors file that belongs to it are there."""
    return _find_missing_of_model(folder) is None


def find_missing(folder: Path) -> str | None:
    """Name what a snapshot lacks of a checkpoint: a file, or several of which one would do; None where it is whole.

    What the hub is known not to have isn't missing.
    """
    if missing := _find_missing_of_model(folder):
        return missing
    absent = folder.parents[1] / ".no_exist" / folder.name
    for names in _NEEDED_KINDS:
        if not any((folder / name).is_file() for name in names) and not all((absent / name).exists() for name in names):
            return " or ".join(names)
    return None


def write_absent(folder: Path, published: Set[str]) -> None:
    """Note which of the needed kinds of files a commit was published without, as huggingface_hub notes it.

    Args:
        folder: The commit's snapshot.
        published: The names of all files that it has on the hub.

    Raises:
        OSError: If the cache can't be written.
    """
    absent = folder.parents[1] / ".no_exist" / folder.name
    for name in (name for names in _NEEDED_KINDS if published.isdisjoint(names) for name in names):
        absent.mkdir(parents=True, exist_ok=True)
        (absent / name).touch()


def hash_blob(path: Path, kind: str, report: Callable[[int], None] | None = None) -> str:
    """Hash a file as the hub does.

    Args:
        path: The file.
        kind: `sha256`, of large files, or `git`: the SHA-1 of git's header and the content
            (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects).
        report: Called with the number of bytes of each block that was read.
    """
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        digest.update(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            if report is not None:
                report(len(block))
    return digest.hexdigest()


def _find_missing_of_model(folder: Path) -> str | None:
    if not (folder / "config.json").is_file():
        return "config.json"
    if (folder / "model.safetensors").is_file():
        return None
    try:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        shards = sorted(set(index["weight_map"].values()))
        return next((str(shard) for shard in shards if not (folder / shard).is_file()), None)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return "model.safetensors"


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None


def _read_all(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and (commit := _read(path)):
            yield commit


def _write(path: Path, text: str) -> None:
    """Write a small file at once: readers see the old content or the new one."""
    if _read(path) == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(text)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
