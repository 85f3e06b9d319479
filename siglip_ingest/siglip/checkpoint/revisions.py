"""Names the exact weights of a checkpoint by commit or hash, so that vectors of two revisions are never mixed.

A snapshot of the hub is named after its commit. Any other folder's revision is the hash of all its weights; reading
1.5 GB for that takes seconds, so it is remembered for as long as the files stay what they were: the kernel sets a
file's ctime at every change of it, and no ordinary program can set it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from siglip_ingest.siglip.checkpoint.files import find_weight_files

CACHE_FILE = "revisions.json"
# Smaller weights are hashed before anybody notices, and leave nothing behind.
LEAST_CACHED_BYTES = 64 << 20
# A file that has only just been changed may be changed again within the same tick of the file system's clock.
SETTLED_S = 2.0
MAX_CACHED_FOLDERS = 100
_BLOCK = 1 << 20


def find_revision(folder: Path, *, cache: Path | None = None) -> str:
    """Name a checkpoint's exact content: the commit of a hub snapshot, else `sha256:` and the hash of its weights.

    Args:
        folder: In the published layout.
        cache: File in which the hashes of large weights are remembered; made where it is missing, done without where
            it can't be written. None to read all weights every time.

    Raises:
        CheckpointError: If there are no weights.
    """
    if folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name):
        return folder.name
    paths = find_weight_files(folder)
    identity = _identify(paths)
    if cache is None or sum(size for _, size, *_ in identity) < LEAST_CACHED_BYTES:
        return _hash(paths)
    key = str(folder.resolve())
    known = _read_cache(cache).get(key)
    if isinstance(known, dict) and known.get("files") == identity and isinstance(known.get("revision"), str):
        return str(known["revision"])
    started_at = time.time()
    revision = _hash(paths)
    changed_at = max(max(mtime_ns, ctime_ns) for _, _, mtime_ns, ctime_ns, _ in identity) / 1e9
    if _identify(paths) == identity and changed_at + SETTLED_S < started_at:
        _write_cache(cache, key, {"files": identity, "revision": revision})
    return revision


def _identify(paths: Sequence[Path]) -> list[list[Any]]:
    """Describe files so that any change of their content changes it: path, size, mtime, ctime (both ns) and inode."""
    described = []
    for path in paths:
        status = path.stat()
        described.append([str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino])
    return described


def _hash(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _read_cache(cache: Path) -> dict[str, Any]:
    try:
        values = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _write_cache(cache: Path, key: str, entry: dict[str, Any]) -> None:
    """Put an entry last; where two processes write at once, one of them hashes again next time."""
    values = _read_cache(cache)
    values.pop(key, None)
    values[key] = entry
    kept = dict(list(values.items())[-MAX_CACHED_FOLDERS:])
    partial = cache.with_name(f"{cache.name}.{os.getpid()}")
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            partial.write_text(json.dumps(kept, indent=1), encoding="utf-8")
            partial.replace(cache)
        finally:
            partial.unlink(missing_ok=True)
