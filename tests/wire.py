"""A proxy on the loopback interface between a client and PostgreSQL: it counts round trips, and may act as a pooler."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

_KEY_DATA = b"K\0\0\0\x0c"  # BackendKeyData: the number of the server's process, and a secret
_BLOCK = 1 << 16


class Wire:
    """What goes through.

    Attributes:
        url: Of the proxy.
        round_trips: How often a client has said something after it had heard an answer, or first of all.
        connections: How many were opened.
    """

    def __init__(self, url: str, *, is_pooler: bool = False) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._is_pooler = is_pooler
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = [self._listener]
        port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}"))
        self.round_trips = 0
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(self._server)
            self._sockets += (client, server)
            self.connections += 1
            state = {"has_answered": True}
            threading.Thread(target=self._pass_on, args=(client, server, state), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client, state), daemon=True).start()

    def _pass_on(self, client: socket.socket, server: socket.socket, state: dict[str, bool]) -> None:
        while block := _receive(client):
            with self._lock:
                self.round_trips += state["has_answered"] and block[:1] != b"X"  # X is a farewell
                state["has_answered"] = False
            _send(server, block)
        _end(server)

    def _answer(self, server: socket.socket, client: socket.socket, state: dict[str, bool]) -> None:
        is_new = self._is_pooler
        while block := _receive(server):
            with self._lock:
                state["has_answered"] = True
            if is_new and (at := block.find(_KEY_DATA)) >= 0:
                is_new = False
                at += len(_KEY_DATA)
                block = block[:at] + struct.pack(">i", 4_000_000 + self.connections) + block[at + 4 :]
            _send(client, block)
        _end(client)


@contextmanager
def wire(url: str, *, is_pooler: bool = False) -> Iterator[Wire]:
    """A proxy before the server of a URL; as a pooler it makes up the number of the process that a client talks to."""
    opened = Wire(url, is_pooler=is_pooler)
    try:
        yield opened
    finally:
        opened.close()


def _receive(one: socket.socket) -> bytes:
    try:
        return one.recv(_BLOCK)
    except OSError:
        return b""


def _send(one: socket.socket, block: bytes) -> None:
    try:
        one.sendall(block)
    except OSError:
        return


def _end(one: socket.socket) -> None:
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
