"""The data folder, SIGLIP_HOME: its files, its owner, its locks, and the passwords."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from siglip_ingest.errors import ConfigurationError, ServiceError
from siglip_ingest.process import expand_user
from siglip_ingest.services.accounts import Account, allow_traversal
from siglip_ingest.services.logs import suggest_fix


@dataclass(frozen=True, slots=True)
class DataFolder:
    """The folder that holds everything of the embedded services.

    Attributes:
        path: Absolute path of SIGLIP_HOME.
    """

    path: Path

    @classmethod
    def at(cls, folder: Path | None) -> DataFolder:
        """The data folder at a path, which may be relative or start with `~`.

        Raises:
            ConfigurationError: If `folder` is None, or starts with `~` and the user has no home folder.
        """
        if folder is None or (expanded := expand_user(folder)).parts[:1] == ("~",):
            raise ConfigurationError(
                "SIGLIP_HOME isn't set, and this user has no home folder: HOME isn't set either, and the system knows "
                f"no user {os.geteuid()}. Set SIGLIP_HOME to a folder that this user may write."
            )
        return cls(expanded.absolute())

    @property
    def postgres(self) -> Path:
        """PostgreSQL's data directory."""
        return self.path / "postgres"

    @property
    def redis(self) -> Path:
        """Redis's working directory; it stays empty."""
        return self.path / "redis"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    @property
    def figures(self) -> Path:
        """What `siglip-ingest verify` keeps of each checkpoint."""
        return self.path / "figures"

    @property
    def state(self) -> Path:
        """Ports and processes of the last start, as JSON; see `read_state`."""
        return self.path / "state.json"

    @property
    def start_lock(self) -> Path:
        """Locked while a client connects to the supervisor or starts one."""
        return self.path / "start.lock"

    @property
    def supervisor_lock(self) -> Path:
        """Locked by the supervisor for as long as it lives."""
        return self.path / "supervisor.lock"

    @property
    def socket(self) -> Path:
        """The supervisor's socket."""
        return self.path / "supervisor.sock"

    def prepare(self) -> None:
        """Make the folders that are missing, readable for the owner only.

        Raises:
            ServiceError: If the folder belongs to another user, or can't be made or written.
        """
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._require_ownership()
            for folder in (self.logs, self.redis):
                folder.mkdir(exist_ok=True, mode=0o700)
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied", str(self.path))
        except OSError as error:
            raise self.failure(error) from error

    def _require_ownership(self) -> None:
        owner = self.path.stat().st_uid
        if owner == os.geteuid():
            return
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"user {owner}"
        raise ServiceError(
            f"{self.path} belongs to {name}. "
            f"Set SIGLIP_HOME to a folder of your own (it need not exist), or run this as {name}."
        )

    def failure(self, error: OSError) -> ServiceError:
        """The error to raise when the folder can't be used."""
        reason = error.strerror or str(error)
        advice = suggest_fix(reason) or "Set SIGLIP_HOME to a folder of your own on a disk that can be written."
        return ServiceError(f"The embedded services can't use {error.filename or self.path}: {reason}. {advice}")

    def prepare_postgres(self, folder: Path, account: Account | None) -> None:
        """Make a data directory where it is missing, and let only the account that runs PostgreSQL in."""
        try:
            folder.mkdir(exist_ok=True, mode=0o700)
            if account is not None:
                if folder.stat().st_uid != account.uid:
                    _change_owner(folder, account)
                allow_traversal(self.path, account)
        except OSError as error:
            raise self.failure(error) from error

    def password(self, service: str) -> str:
        """The password of `postgres` or `redis`, made at first use and kept in a file that only the owner can read."""
        path = self.path / "passwords.json"
        passwords: dict[str, str] = _read_json(path)
        if service not in passwords:
            passwords[service] = secrets.token_hex(24)
            self.write_private(path, json.dumps(passwords))
        return passwords[service]

    def read_state(self) -> dict[str, Any]:
        """Ports and processes of the last start; empty before the first one or where the file can't be understood."""
        return _read_json(self.state)

    def write_state(self, state: dict[str, Any]) -> None:
        """Remember ports and processes for the next start."""
        self.write_private(self.state, json.dumps(state, indent=1))

    def write_private(self, path: Path, text: str) -> None:
        """Write a file that only the owner can read; readers see the old or the new content, never a part."""
        temporary = path.with_name(path.name + ".new")
        try:
            temporary.unlink(missing_ok=True)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:  # noqa: PTH123
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise self.failure(error) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _change_owner(folder: Path, account: Account) -> None:
    """Make the account the owner of a folder and all that is in it (its number may have changed with the machine)."""
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(os.path.join(root, name), account.uid, account.gid, follow_symlinks=False)  # noqa: PTH118
    os.chown(folder, account.uid, account.gid)


@contextmanager
def hold_lock(path: Path, *, timeout_s: float, waiting_for: str) -> Iterator[None]:
    """Hold the lock at `path` for the length of a block; the kernel gives it back if its holder dies.

    Args:
        path: The lock's file; made where it is missing, and left: removing it would let two hold it at once.
        timeout_s: How long to wait for another holder.
        waiting_for: What the holder is doing, for the message.

    Raises:
        ServiceError: If another process holds it for longer.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        give_up_at = time.monotonic() + timeout_s
        while not _try_lock(file):
            if time.monotonic() > give_up_at:
                raise ServiceError(
                    f"Another process has been {waiting_for} for {timeout_s:.0f} seconds; it holds {path}"
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(file)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
