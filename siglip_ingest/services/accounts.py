"""The system user that PostgreSQL runs as: the current one, or one without rights where that is root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siglip_ingest.errors import ServiceError

_NAME = "pgserver"  # the same name as the package that carries PostgreSQL uses
_FALLBACK = "nobody"

# By hand: setfacl isn't installed everywhere, and without an entry for one user everybody would have to be let in.
# POSIX ACL as the kernel stores it: a version, then (tag, permissions, id) for each entry. <linux/posix_acl_xattr.h>
_ACL = "system.posix_acl_access"
_ACL_VERSION, _OWNER, _USER, _GROUP, _MASK, _OTHERS, _NO_ID = 2, 0x01, 0x02, 0x04, 0x10, 0x20, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Account:
    """A system user without rights."""

    name: str
    uid: int
    gid: int

    def popen_arguments(self) -> dict[str, Any]:
        """Arguments of subprocess.Popen that make a child run as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def find_account() -> Account | None:
    """The user to run PostgreSQL as, made where it is missing; None means the current one, which isn't root."""
    if os.geteuid() != 0:
        return None
    return _look_up(_NAME) or _create(_NAME) or _require(_FALLBACK)


def _look_up(name: str) -> Account | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _create(name: str) -> Account | None:
    command = [
        "useradd",
        "--system",
        "--user-group",
        "--no-create-home",
        "--home-dir",
        "/nonexistent",
        "--shell",
        "/bin/false",
    ]
    if shutil.which(command[0]) is not None:
        subprocess.run(
            [*command, name], check=False, capture_output=True
        )  # where /etc can't be written there is the fallback
    return _look_up(name)


def _require(name: str) -> Account:
    account = _look_up(name)
    if account is None:
        raise ServiceError(
            f"PostgreSQL refuses to run as root, and the system has no user {_NAME} or {_FALLBACK} to run it as. "
            f"Make one (useradd --system {_NAME}), or run this as another user than root."
        )
    return account


def allow_traversal(folder: Path, account: Account) -> None:
    """Let the account pass through the folders above and including `folder`, and change nothing else.

    A folder that everybody may pass through stays as it is. Another (root's home, for instance) gets an access control
    entry for this one user to pass, not to list or read; where the file system knows no such entries, everybody may
    pass.
    """
    if _can_traverse(folder, account):
        return
    for parent in reversed([folder, *folder.parents]):
        if not _can_traverse(parent, account):
            try:
                _add_traverse_entry(parent, account)
            except OSError:
                try:
                    parent.chmod(parent.stat().st_mode | stat.S_IXOTH)
                except OSError as error:
                    raise ServiceError(
                        f"PostgreSQL has to run as the user {account.name} (it refuses root), who can't reach {folder} "
                        f"because of the permissions of {parent}. Set SIGLIP_HOME to a folder that others can enter."
                    ) from error


def _can_traverse(folder: Path, account: Account) -> bool:
    try:
        done = subprocess.run(["test", "-x", folder], check=False, **account.popen_arguments())
    except OSError:
        return True  # nothing can be run as this user: starting PostgreSQL will say so
    return done.returncode == 0


def _read_acl(folder: Path) -> list[tuple[int, int, int]]:
    try:
        content = os.getxattr(folder, _ACL)
    except (OSError, AttributeError):  # no entries, or a file system or system without them
        return []
    return list(struct.iter_unpack("<HHI", content[4:]))


def _add_traverse_entry(folder: Path, account: Account) -> None:
    mode = folder.stat().st_mode
    entries = _read_acl(folder) or [
        (_OWNER, (mode >> 6) & 7, _NO_ID),
        (_GROUP, (mode >> 3) & 7, _NO_ID),
        (_OTHERS, mode & 7, _NO_ID),
    ]
    kept = [entry for entry in entries if entry[0] != _MASK and entry[::2] != (_USER, account.uid)]
    mask = next((permissions for tag, permissions, _ in entries if tag == _MASK), (mode >> 3) & 7)
    kept += [(_USER, 1, account.uid), (_MASK, mask | 1, _NO_ID)]
    kept.sort(key=lambda entry: (entry[0], entry[2]))
    if not hasattr(os, "setxattr"):
        raise OSError("no access control entries on this system")
    os.setxattr(folder, _ACL, struct.pack("<I", _ACL_VERSION) + b"".join(struct.pack("<HHI", *entry) for entry in kept))
