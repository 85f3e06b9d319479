"""A TCP proxy before a server, for faults of the network between the two."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s
_BLOCK_BYTES = 1 << 16
_POLL_S = 0.05


class Proxy:
    """Passes bytes between clients and a server, until it is told to drop connections or to fall silent."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._silent = False
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def cut(self) -> int:
        """Reset all connections, and refuse new ones until `restore`; returns how many there were."""
        self._stop_listening()
        with self._lock:
            ended, self._connections = self._connections, []
        for connection in ended:
            connection.reset()
        return len(ended)

    def fall_silent(self) -> int:
        """Pass nothing on: what is sent is taken, and never answered, until `restore`; returns how many connections."""
        with self._lock:
            self._silent = True
            for connection in self._connections:
                connection.is_silent = True
            return len(self._connections)

    def restore(self, *, old_connections: bool = True) -> None:
        """Work again; without `old_connections` those stay silent for ever, and only new ones work."""
        with self._lock:
            self._silent = False
            for connection in self._connections:
                connection.is_silent = connection.is_silent and connection.is_linked and not old_connections
        if self._listener.fileno() < 0:
            self._listener = self._listen(self.port)

    def close(self) -> None:
        """End it, and all connections."""
        self.cut()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        listener.settimeout(_POLL_S)
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()
        return listener

    def _stop_listening(self) -> None:
        self._listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while listener.fileno() >= 0:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # closed
                return
            with self._lock:
                if listener.fileno() < 0:
                    client.close()
                    return
                connection = _Connection(client, self._server, is_silent=self._silent)
                self._connections.append(connection)
            connection.start()


class _Connection:
    """A client's connection and the one to the server; the latter is made once it isn't silent."""

    def __init__(self, client: socket.socket, server: tuple[str, int], *, is_silent: bool) -> None:
        self.is_silent = is_silent
        self.is_linked = False
        self._client = client
        self._address = server
        self._upstream: socket.socket | None = None
        self._is_closed = False
        self._closing = threading.Lock()

    def start(self) -> None:
        threading.Thread(target=self._link, daemon=True).start()

    def reset(self) -> None:
        """Close both ends, the client's with a reset."""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._close()

    def _link(self) -> None:
        self._wait_while_silent()
        if self._is_closed:
            return
        try:
            upstream = socket.create_connection(self._address)
        except OSError:  # the server is away
            self.reset()
            return
        with self._closing:
            self._upstream = upstream
            if self._is_closed:
                upstream.close()
                return
        self.is_linked = True
        for source, sink in ((self._client, upstream), (upstream, self._client)):
            source.settimeout(_POLL_S)
            threading.Thread(target=self._pump, args=[source, sink], daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while not self._is_closed:
                self._wait_while_silent()
                try:
                    block = source.recv(_BLOCK_BYTES)
                except TimeoutError:
                    continue
                self._wait_while_silent()
                if not block:
                    break
                while block:  # `sendall` gives up half-way on a time-out
                    with contextlib.suppress(TimeoutError):
                        block = block[sink.send(block) :]
        except OSError:
            pass
        finally:
            self._close()

    def _wait_while_silent(self) -> None:
        while self.is_silent and not self._is_closed:
            threading.Event().wait(_POLL_S)

    def _close(self) -> None:
        with self._closing:
            self._is_closed = True
            for end in (self._client, self._upstream):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                    end.close()
