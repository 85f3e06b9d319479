"""A PostgreSQL database: transactions, single statements, and sessions.

Most statements need no session: they run on any connection, also behind a pooler in transaction mode (PgBouncer, the
pooled ports of hosted databases). What does need one, LISTEN and locks that outlive a transaction, takes `session`,
which goes to the server itself.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import sql

from siglip_ingest.db.connection.connect import Connection, add_defaults, connect
from siglip_ingest.db.connection.errors import describe_server, mapped_errors, parse_url
from siglip_ingest.db.connection.pool import Pool
from siglip_ingest.errors import ConfigurationError, DatabaseConflictError

T = TypeVar("T")

CONFLICT_ATTEMPTS = 8
FIRST_CONFLICT_PAUSE_S = 0.01
LIMIT_IDLE_TIME = "SELECT pg_catalog.set_config('idle_in_transaction_session_timeout', %s, true)"


class Database:
    """A PostgreSQL database with our schema. Thread-safe; opens its first connection when one is needed.

    A process that is forked off opens connections of its own: those of its parent are left to the parent.
    """

    def __init__(
        self,
        database_url: str,
        *,
        direct_url: str | None = None,
        pooler: str = "auto",
        max_connections: int = 16,
        idle_limit_s: float | None = None,
    ) -> None:
        """Make a handle; nothing is connected yet.

        Args:
            database_url: libpq URL or connection string.
            direct_url: URL of the server itself, for what needs a session, where `database_url` leads to a pooler.
            pooler: `none`, or `transaction` where one in transaction mode stands before the server. `auto` asks the
                server for its process id: where it isn't the one that the connection was told at its start, there is a
                pooler.
            max_connections: Most connections that are kept at a time; further callers wait.
            idle_limit_s: Seconds after which the server ends a transaction that waits for this process, and lets go of
                its locks: of a process that was suspended, or is behind a connection that has gone silent.

        Raises:
            ConfigurationError: If a URL can't be read.
        """
        self._parameters = add_defaults(parse_url(database_url))
        self._direct_parameters = None if direct_url is None else add_defaults(parse_url(direct_url))
        is_pooled = {"none": False, "transaction": True}.get(pooler, True if direct_url is not None else None)
        self._connections: WeakSet[Connection] = WeakSet()
        self._pool = Pool(
            self._parameters, is_pooled=is_pooled, max_connections=max_connections, note=self._connections.add
        )
        self._idle_limit = None if idle_limit_s is None else f"{1000 * idle_limit_s:.0f}ms"

    def __repr__(self) -> str:
        return f"Database({self.server})"

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def server(self) -> str:
        """Which database this is, for messages: host, port and name."""
        return describe_server(self._parameters)

    def close(self) -> None:
        """Close the pooled connections. The handle can be used again afterwards."""
        self._pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection for one transaction: committed at the end of the block, rolled back if it raises.

        The transaction is READ COMMITTED. Errors of psycopg leave the block as errors of this package.

        Raises:
            DatabaseUnavailableError: If the server can't be reached, or is lost in the block.
            DatabaseConflictError: If another transaction was in the way: the whole block may be run again.
            DatabaseError: If PostgreSQL refuses the connection or a statement.
        """
        with mapped_errors(self._parameters), self._pool.borrow() as connection, connection.transaction():
            if self._idle_limit is not None:
                connection.execute(LIMIT_IDLE_TIME, [self._idle_limit])
            yield connection

    def transact(self, action: Callable[[Connection], T]) -> T:
        """Run a transaction, and run it again where another one was in the way (a deadlock, for instance).

        Raises:
            DatabaseConflictError: If that doesn't help.
        """
        pause_s = FIRST_CONFLICT_PAUSE_S
        for _ in range(CONFLICT_ATTEMPTS - 1):
            try:
                with self.connection() as connection:
                    return action(connection)
            except DatabaseConflictError:
                time.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311  # so that two don't meet again
                pause_s *= 2
        with self.connection() as connection:
            return action(connection)

    def fetch(self, statement: bytes, parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """Run one statement in one round trip, in autocommit mode, and return its rows.

        Where the server closed the connection at hand (it was restarted, say), the statement runs again on another one:
        it must be one that may run twice.

        Raises:
            DatabaseError: As `connection` does.
        """
        with mapped_errors(self._parameters):
            try:
                return self._fetch(statement, parameters)
            except psycopg.OperationalError as error:
                if error.sqlstate is not None and not error.sqlstate.startswith(("57P", "08")):
                    raise
                return self._fetch(statement, parameters)

    def _fetch(self, statement: bytes, parameters: Mapping[str, Any] | None) -> list[Any]:
        with self._pool.borrow() as connection:
            return connection.execute(statement, parameters, binary=True).fetchall()

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands before the server, so that connections have no session; connects to find out."""
        return self._pool.is_pooled

    @property
    def has_sessions(self) -> bool:
        """Whether `session` can work: the server itself is known."""
        return self._direct_parameters is not None or not self.is_pooled

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """Open a connection to the server itself, in autocommit mode, closed at the end of the block.

        Raises:
            ConfigurationError: If only a pooler is known.
            DatabaseUnavailableError: If the server can't be reached. Errors in the block are left as psycopg raises
                them.
        """
        if not self.has_sessions:
            raise ConfigurationError(
                f"A pooler answers at {self.server}, and a connection to PostgreSQL itself is needed. Name it in "
                "SIGLIP_DIRECT_DATABASE_URL."
            )
        connection = connect(self._direct_parameters or self._parameters, is_pooled=False)
        self._connections.add(connection)
        try:
            yield connection
        finally:
            connection.close()

    def cut_connections(self) -> None:
        """End all connections from this side, those included that wait for an answer: who waits gets an error.

        For connections that have gone silent. libpq waits for ever where a firewall or a proxy forgot them.
        """
        for connection in self._connections.copy():
            with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
                duplicate.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def listen(self, channel: str) -> Iterator[Connection]:
        """Open a session that hears NOTIFY on a channel: see `psycopg.Connection.notifies`."""
        with self.session() as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            yield connection
