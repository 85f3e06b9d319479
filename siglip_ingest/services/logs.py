"""The services' logs: their rotation, their last lines, and advice on failures that they show."""

from __future__ import annotations

import os
from pathlib import Path

_LOG_BYTES = 10_000_000


def rotate_log(log: Path) -> None:
    """Move a log that has grown large aside, so that two generations at most are kept."""
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def read_tail(log: Path, lines: int = 10, *, since: int = 0) -> list[str]:
    """Last lines of a log after byte `since`, without empty ones; none where there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(since, file.tell() - 20_000))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines() if line.strip()][-lines:]


def suggest_fix(text: str) -> str:
    """Say what to do about a failure, where the text of it shows the cause; else an empty string."""
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return "The disk is full: free some space, or set SIGLIP_HOME to a folder on another disk."
    if "Read-only file system" in text:
        return "The file system can't be written: set SIGLIP_HOME to a folder that can."
    if "could not look up effective user ID" in text:
        return (
            "PostgreSQL runs only as a user that the system knows: run this as one, add this one to /etc/passwd, or "
            "set SIGLIP_DATABASE_URL and SIGLIP_BROKER_URL to servers of your own."
        )
    if "Permission denied" in text:
        return "Set SIGLIP_HOME to a folder of your own."
    return ""
