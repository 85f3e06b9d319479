"""A pool of connections, shared by threads and not inherited by forked children."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from psycopg_pool import ConnectionPool, PoolTimeout

from siglip_ingest import process
from siglip_ingest.db.connection.connect import Connection, connect, is_alive, is_behind_pooler, set_up
from siglip_ingest.db.connection.errors import describe_server, is_full
from siglip_ingest.errors import DatabaseUnavailableError

POOL_TIMEOUT_S = 30.0
PROBE_AFTER_S = 2.0  # a caller that waits for so long is told if the server can't be reached


class Pool:
    """Connections to one server, opened when they are needed. Thread-safe; a forked child opens its own."""

    def __init__(
        self,
        parameters: Mapping[str, str],
        *,
        is_pooled: bool | None,
        max_connections: int,
        note: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        """Make a pool; nothing is connected yet.

        Args:
            parameters: libpq's.
            is_pooled: Whether a pooler stands before the server; None to find out.
            max_connections: Most connections at a time; further callers wait.
            note: Told of each connection that is opened.
        """
        self._parameters = dict(parameters)
        self._is_pooled = is_pooled
        self._max_connections = max_connections
        self._note = note
        self._pool: ConnectionPool[Connection] | None = None
        self._borrowed = 0
        self._lock = threading.Lock()
        process.register_for_forks(self)

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands before the server; connects to find out."""
        self._open()
        return bool(self._is_pooled)

    @contextmanager
    def borrow(self) -> Iterator[Connection]:
        """Lend a connection in autocommit mode.

        Raises:
            DatabaseError: If the server can't be reached or refuses, or none becomes free within `POOL_TIMEOUT_S`.
        """
        pool = self._open()
        connection = self._take(pool)
        with self._lock:
            self._borrowed += 1
        try:
            yield connection
        finally:
            with self._lock:
                self._borrowed -= 1
            pool.putconn(connection)

    def close(self) -> None:
        """Close the connections. The pool opens again when it is used again."""
        with self._lock:
            pool, self._pool = self._pool, None
            self._borrowed = 0
        if pool is not None:
            pool.close()

    def forget_inherited(self) -> None:
        """Let go of the parent's connections without telling the server, since the parent goes on using them."""
        process.keep_alive(self._pool)  # collecting it would end its threads, which this process hasn't got
        self._pool = None
        self._borrowed = 0
        self._lock = threading.Lock()

    def _take(self, pool: ConnectionPool[Connection]) -> Connection:
        give_up_at = time.monotonic() + POOL_TIMEOUT_S
        while True:
            try:
                connection = pool.getconn(timeout=PROBE_AFTER_S)
            except PoolTimeout as error:
                self._explain_wait(error, is_over=time.monotonic() > give_up_at)
                continue
            if is_alive(connection):
                return connection
            connection.close()
            pool.putconn(connection)

    def _explain_wait(self, error: PoolTimeout, *, is_over: bool) -> None:
        """Raise where waiting for a connection has no point (any more).

        Where all of them are in use there is nothing to find out. Otherwise the pool can't connect, and only an attempt
        of our own says why.
        """
        if self._borrowed < self._max_connections:
            try:
                connect(self._parameters, is_pooled=self._is_pooled).close()
            except DatabaseUnavailableError as reason:
                if is_over or not is_full(reason):
                    raise
        if is_over:
            raise DatabaseUnavailableError(
                f"All {self._max_connections} connections to {describe_server(self._parameters)} were busy for "
                f"{POOL_TIMEOUT_S:g} s. Use fewer threads, or give Database more connections."
            ) from error

    def _set_up(self, connection: Connection) -> None:
        set_up(connection, is_pooled=self._is_pooled)
        self._note(connection)

    def _open(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                # psycopg's pool connects in the background and would only time out: this attempt says what is wrong.
                with connect(self._parameters, is_pooled=self._is_pooled) as connection:
                    if self._is_pooled is None:
                        self._is_pooled = is_behind_pooler(connection)
                self._pool = ConnectionPool(
                    kwargs={**self._parameters, "autocommit": True},
                    min_size=0,
                    max_size=self._max_connections,
                    configure=self._set_up,
                    name="siglip_ingest",
                    open=True,
                )
            return self._pool
