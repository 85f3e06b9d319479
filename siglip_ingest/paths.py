"""Paths as people type them, where there may be no home folder: a container's user often has none."""

from __future__ import annotations

import os
from pathlib import Path


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Put the home folder in the place of `~`, as a shell does: what can't be expanded stays as it is typed."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path's own raises where there is no home folder)


def find_home_folder() -> Path | None:
    """The user's home folder: HOME, or else what the system knows; None where neither says."""
    home = expand_user("~")
    return None if str(home) == "~" else home
