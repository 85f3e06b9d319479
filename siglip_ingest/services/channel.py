"""JSON messages, one a line, over a Unix socket in SIGLIP_HOME.

A client's connection is its lease: the kernel closes it however the client dies.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from siglip_ingest.errors import ServiceError

_LONGEST_ADDRESS = 100  # bytes; Linux takes 107, macOS 103
_RECEIVE_BYTES = 65536


class Channel:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._received = b""

    @property
    def peer_pid(self) -> int | None:
        """Process at the other end, where the system tells."""
        if sys.platform != "linux":
            return None
        credentials = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", credentials)[0])

    def send(self, message: dict[str, Any]) -> None:
        """Send one message.

        Raises:
            OSError: If the other end is gone.
        """
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout_s: float) -> dict[str, Any] | None:
        """Wait for the next message; None if the other end has closed.

        Raises:
            TimeoutError: If nothing comes in time.
        """
        give_up_at = time.monotonic() + timeout_s
        while b"\n" not in self._received:
            self.connection.settimeout(max(0.001, give_up_at - time.monotonic()))
            try:
                part = self.connection.recv(_RECEIVE_BYTES)
            except ConnectionError:
                part = b""
            if not part:
                return None
            self._received += part
        line, _, self._received = self._received.partition(b"\n")
        return _parse(line)

    def receive_available(self) -> list[dict[str, Any]] | None:
        """The messages that have come, once the system says there is something; None if the other end has closed."""
        try:
            part = self.connection.recv(_RECEIVE_BYTES)
        except ConnectionError:
            part = b""
        if not part:
            return None
        *lines, self._received = (self._received + part).split(b"\n")
        return [_parse(line) for line in lines]

    def is_open(self) -> bool:
        """Tell whether the other end is still there."""
        self.connection.settimeout(0)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()


def listen(path: Path) -> socket.socket:
    """Make the socket at `path`, in place of one that a killed process left; only the owner can connect."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(0o077)
    try:
        with _short_address(path) as address:
            listener.bind(address)
    finally:
        os.umask(umask)
    listener.listen(64)
    return listener


def connect(path: Path) -> Channel | None:
    """Connect to the socket at `path`; None if nobody listens there."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_address(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionError, NotADirectoryError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise
    return Channel(connection)


@contextmanager
def _short_address(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket's address, which is far shorter than a path may be.

    On Linux a long one is reached through the open folder's own entry in /proc, so nothing is left behind anywhere.
    """
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    if sys.platform != "linux":
        raise ServiceError(f"SIGLIP_HOME is too long for this system: {path.parent}. Set it to a shorter path.")
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _parse(line: bytes) -> dict[str, Any]:
    message = json.loads(line)
    return message if isinstance(message, dict) else {}
