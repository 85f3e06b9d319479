"""The current process: its user's home folder, its optional parts, and what it must not use after a fork.

A container's user often has no home folder. In a forked child, connections, locks and threads of the parent must not be
used: objects that hold such things are registered here, and told in the child before anything else runs there.
"""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path
from typing import Protocol


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Replace `~` with the home folder, as a shell does; without a home folder the path stays as it was typed."""
    return Path(os.path.expanduser(path))  # noqa: PTH111  (Path's own raises where there is no home folder)


def find_home_folder() -> Path | None:
    """The user's home folder: HOME, or else what the system knows; None where neither says."""
    home = expand_user("~")
    return None if str(home) == "~" else home


def how_to_install(extra: str) -> str:
    """The command that installs an optional part, for messages; the package isn't on an index yet."""
    return f"pip install '.[{extra}]' in a clone of siglip_ingest"


class Inheritable(Protocol):
    """An object that holds what only one process may use."""

    def forget_inherited(self) -> None:
        """In a forked child: leave what the parent has opened to the parent, and start anew."""


_registered: weakref.WeakSet[Inheritable] = weakref.WeakSet()
_kept_alive: list[object] = []
_inherited_modules: set[str] = set()


def register_for_forks(holder: Inheritable) -> None:
    """Have `holder.forget_inherited` called in each child that is forked from now on, for as long as it is used."""
    _registered.add(holder)


def keep_alive(value: object) -> None:
    """Keep an object of the parent's from being collected, which would end it there or wait for threads."""
    _kept_alive.append(value)


def has_inherited(module: str) -> bool:
    """Whether a module was imported already when this process was forked; False in a process that wasn't forked."""
    return module in _inherited_modules


def _forget_inherited() -> None:
    _inherited_modules.update(sys.modules)
    for holder in list(_registered):
        holder.forget_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)
