"""Connections to one database, shared by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from siglip_ingest.db.failures import MIGRATE, connect_error, describe_server, mapped_errors, parse_url
from siglip_ingest.db.statements import load_statement
from siglip_ingest.errors import DatabaseUnavailableError, SchemaVersionError

SCHEMA_REVISION = "0003"  # the newest in siglip_migrations; a test holds the two together
CONNECT_TIMEOUT_S = 10
POOL_TIMEOUT_S = 30.0
PROBE_AFTER_S = 2.0  # a caller that waits for so long wants to know whether the server is there at all

Connection = psycopg.Connection[tuple[object, ...]]


class Database:
    """A PostgreSQL database with our schema. Thread-safe; opens its first connection when one is needed."""

    def __init__(self, database_url: str, *, max_connections: int = 16) -> None:
        """Make a handle; nothing is connected yet.

        Args:
            database_url: libpq URL or connection string.
            max_connections: Most connections that `connection` keeps at a time; further callers wait.

        Raises:
            ConfigurationError: If the URL can't be read.
        """
        self._parameters = parse_url(database_url)
        self._parameters.setdefault("connect_timeout", str(CONNECT_TIMEOUT_S))
        self._parameters.setdefault("fallback_application_name", "siglip_ingest")
        self._max_connections = max_connections
        self._pool: ConnectionPool[Connection] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Database({describe_server(self._parameters)})"

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the pooled connections. The handle can be used again afterwards."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection for one transaction: committed at the end of the block, rolled back if it raises.

        The transaction is READ COMMITTED. Errors of psycopg leave the block as errors of this package.

        Raises:
            DatabaseUnavailableError: If the server can't be reached, or is lost in the block.
            DatabaseError: If PostgreSQL refuses the connection or a statement.
        """
        with mapped_errors(self._parameters), self._borrow() as connection:
            yield connection

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection of one's own, in autocommit mode, closed at the end of the block.

        Raises:
            DatabaseUnavailableError: If the server can't be reached. Errors in the block are left as psycopg raises
            them.
        """
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def listen(self, channel: str) -> Iterator[Connection]:
        """Open a connection that hears NOTIFY on a channel: see `psycopg.Connection.notifies`."""
        with self.connect() as connection:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            yield connection

    def check_schema(self) -> None:
        """Check that the schema is the one that this version needs.

        Raises:
            SchemaVersionError: If it is missing, behind or ahead.
        """
        where = describe_server(self._parameters)
        with self.connection() as connection:
            is_there = connection.execute(load_statement("has_schema")).fetchone()
            if is_there is None or not is_there[0]:
                raise SchemaVersionError(f"The database {where} has no schema siglip yet. {MIGRATE}")
            row = connection.execute(load_statement("get_schema_revision")).fetchone()
        found = "base" if row is None else str(row[0])
        if found == SCHEMA_REVISION:
            return
        if found == "base" or found < SCHEMA_REVISION:
            raise SchemaVersionError(
                f"The schema siglip in {where} is at revision {found}, and {SCHEMA_REVISION} is needed. {MIGRATE}"
            )
        raise SchemaVersionError(
            f"The schema siglip in {where} is at revision {found}, which is newer than {SCHEMA_REVISION}, the one this "
            "version knows. Upgrade siglip-ingest here."
        )

    @contextmanager
    def _borrow(self) -> Iterator[Connection]:
        pool = self._open_pool()
        connection = self._take(pool)
        try:
            with connection:
                yield connection
        finally:
            pool.putconn(connection)

    def _take(self, pool: ConnectionPool[Connection]) -> Connection:
        give_up_at = time.monotonic() + POOL_TIMEOUT_S
        while True:
            try:
                return pool.getconn(timeout=PROBE_AFTER_S)
            except PoolTimeout as error:
                self._connect().close()  # raises, where the server is the reason
                if time.monotonic() > give_up_at:
                    raise DatabaseUnavailableError(
                        f"All {self._max_connections} connections to {describe_server(self._parameters)} were busy for "
                        f"{POOL_TIMEOUT_S:g} s. Use fewer threads, or give Database more connections."
                    ) from error

    def _open_pool(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                # The pool connects in the background and would only time out: what is wrong is found out here.
                self._connect().close()
                self._pool = ConnectionPool(
                    kwargs=self._parameters,
                    min_size=0,
                    max_size=self._max_connections,
                    configure=_configure,
                    check=ConnectionPool.check_connection,
                    name="siglip_ingest",
                    open=True,
                )
            return self._pool

    def _connect(self) -> Connection:
        try:
            return psycopg.connect(**self._parameters, autocommit=True)  # type: ignore[arg-type]  # all are libpq's strings
        except psycopg.OperationalError as error:
            raise connect_error(error, self._parameters) from error


def _configure(connection: Connection) -> None:
    connection.autocommit = True
    connection.execute(load_statement("extend_search_path"))
    connection.autocommit = False
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
