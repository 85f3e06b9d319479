"""What a process has from the one that it was forked off, and must not use: connections, locks, other threads.

Whoever holds such things is watched, and told in the child, before anything else runs there.
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Protocol


class Inheritable(Protocol):
    """Something that holds what only one process may use."""

    def forget_inherited(self) -> None:
        """In a process that was forked off: leave what the parent has opened to the parent, and begin anew."""


_watched: weakref.WeakSet[Inheritable] = weakref.WeakSet()
_left_behind: list[object] = []
_inherited_modules: set[str] = set()


def watch(one: Inheritable) -> None:
    """Have `one.forget_inherited` called in each process that is forked off from now on, for as long as it is used."""
    _watched.add(one)


def leave_behind(value: object) -> None:
    """Keep something of the parent's from being collected, which would end it there or wait for threads."""
    _left_behind.append(value)


def has_inherited(module: str) -> bool:
    """Whether a module was in use already when this process was forked off; False where it wasn't forked off."""
    return module in _inherited_modules


def _forget_inherited() -> None:
    _inherited_modules.update(sys.modules)
    for one in list(_watched):
        one.forget_inherited()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_inherited)
