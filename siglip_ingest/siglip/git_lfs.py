"""Recognises Git LFS pointers: what a clone has in place of large files until `git lfs pull` fetches them."""

from __future__ import annotations

from pathlib import Path

_HEADER = b"version https://git-lfs"


def describe_pointer(path: Path) -> str | None:
    """Say what to do about a file that is a pointer; None where it is none, or can't be read."""
    try:
        with path.open("rb") as file:
            if file.read(len(_HEADER)) == _HEADER:
                return f"{path} is a Git LFS pointer, not the file itself: run `git lfs pull` in its folder."
    except OSError:
        pass  # who asks has an error of its own
    return None
