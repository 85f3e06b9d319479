"""Connections to one database, shared by threads and forgotten by forked children.

Most statements need no session: they run in any connection, behind a pooler in transaction mode (PgBouncer, the pooled
ports of hosted databases) too. What needs one, LISTEN and locks that outlive a transaction, takes `session`, which goes
to the server itself.
"""

from __future__ import annotations

import logging
import random
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool, PoolTimeout

from siglip_ingest import process
from siglip_ingest.db.failures import MIGRATE, connect_error, describe_server, is_full, mapped_errors, parse_url
from siglip_ingest.db.statements import load_statement
from siglip_ingest.db.vectors import HalfVector, HalfVectorDumper
from siglip_ingest.errors import (
    ConfigurationError,
    DatabaseConflictError,
    DatabaseUnavailableError,
    SchemaVersionError,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

SCHEMA_REVISION = "0004"  # the newest in siglip_migrations; a test holds the two together
CONNECT_TIMEOUT_S = 10
POOL_TIMEOUT_S = 30.0
PROBE_AFTER_S = 2.0  # a caller that waits for so long wants to know whether the server is there at all
CONFLICT_ATTEMPTS = 8
FIRST_CONFLICT_PAUSE_S = 0.01
WARNING_STATE = "SIG10"  # siglip.embed_text's: what the model doesn't read of a text

Connection = psycopg.Connection[tuple[object, ...]]


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
    ) -> None:
        """Make a handle; nothing is connected yet.

        Args:
            database_url: libpq URL or connection string.
            direct_url: Of the server itself, for what needs a session, where `database_url` leads to a pooler.
            pooler: `none`, or `transaction` where one in transaction mode stands before the server. `auto` asks the
                server which of its processes it is: where the answer isn't what the connection was told at its start,
                something stands between.
            max_connections: Most connections that are kept at a time; further callers wait.

        Raises:
            ConfigurationError: If a URL can't be read.
        """
        self._parameters = _with_defaults(parse_url(database_url))
        self._direct_parameters = None if direct_url is None else _with_defaults(parse_url(direct_url))
        self._is_pooled: bool | None = {"none": False, "transaction": True}.get(pooler)
        if direct_url is not None and self._is_pooled is None:
            self._is_pooled = True
        self._max_connections = max_connections
        self._pool: ConnectionPool[Connection] | None = None
        self._borrowed = 0
        self._lock = threading.Lock()
        process.register_for_forks(self)

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
            self._borrowed = 0
        if pool is not None:
            pool.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Borrow a connection for one transaction: committed at the end of the block, rolled back if it raises.

        The transaction is READ COMMITTED. Errors of psycopg leave the block as errors of this package.

        Raises:
            DatabaseUnavailableError: If the server can't be reached, or is lost in the block.
            DatabaseConflictError: If another transaction was in the way: the whole block may be run again.
            DatabaseError: If PostgreSQL refuses the connection or a statement.
        """
        with mapped_errors(self._parameters), self._borrow() as connection, connection.transaction():
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

    def fetch(self, statement: str, parameters: Mapping[str, Any] | None = None) -> list[Any]:
        """Run one statement by itself, in one round trip, and return its rows.

        It runs a second time, on another connection, where the server ended the one at hand (it was restarted, say): so
        it must be one that may.

        Args:
            statement: Its name; see `load_statement`.
            parameters: By name.

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

    def _fetch(self, statement: str, parameters: Mapping[str, Any] | None) -> list[Any]:
        with self._borrow() as connection:
            return connection.execute(load_statement(statement), parameters, binary=True).fetchall()

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands between, so that a connection has no session of its own; connects to find out."""
        self._open_pool()
        return bool(self._is_pooled)

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
                f"A pooler answers at {describe_server(self._parameters)}, and a connection to PostgreSQL itself is "
                "needed. Name it in SIGLIP_DIRECT_DATABASE_URL."
            )
        connection = self._connect(self._direct_parameters or self._parameters)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def listen(self, channel: str) -> Iterator[Connection]:
        """Open a session that hears NOTIFY on a channel: see `psycopg.Connection.notifies`."""
        with self.session() as connection:
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

    def forget_inherited(self) -> None:
        """Let go of what a parent process has opened, without a word to the server: it goes on using it."""
        process.keep_alive(self._pool)  # collecting it would end its threads, which this process hasn't got
        self._pool = None
        self._borrowed = 0
        self._lock = threading.Lock()

    @contextmanager
    def _borrow(self) -> Iterator[Connection]:
        pool = self._open_pool()
        connection = self._take(pool)
        with self._lock:
            self._borrowed += 1
        try:
            yield connection
        finally:
            with self._lock:
                self._borrowed -= 1
            pool.putconn(connection)

    def _take(self, pool: ConnectionPool[Connection]) -> Connection:
        give_up_at = time.monotonic() + POOL_TIMEOUT_S
        while True:
            try:
                connection = pool.getconn(timeout=PROBE_AFTER_S)
            except PoolTimeout as error:
                self._explain_wait(error, is_over=time.monotonic() > give_up_at)
                continue
            if _is_usable(connection):
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
                self._connect(self._parameters).close()
            except DatabaseUnavailableError as reason:
                if is_over or not is_full(reason):
                    raise
        if is_over:
            raise DatabaseUnavailableError(
                f"All {self._max_connections} connections to {describe_server(self._parameters)} were busy for "
                f"{POOL_TIMEOUT_S:g} s. Use fewer threads, or give Database more connections."
            ) from error

    def _open_pool(self) -> ConnectionPool[Connection]:
        with self._lock:
            if self._pool is None:
                # The pool connects in the background and would only time out: what is wrong is found out here.
                with self._connect(self._parameters) as connection:
                    if self._is_pooled is None:
                        self._is_pooled = _stands_before_server(connection)
                self._pool = ConnectionPool(
                    kwargs={**self._parameters, "autocommit": True},
                    min_size=0,
                    max_size=self._max_connections,
                    configure=self._set_up,
                    name="siglip_ingest",
                    open=True,
                )
            return self._pool

    def _connect(self, parameters: Mapping[str, str]) -> Connection:
        try:
            connection = psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]  # all are libpq's strings
        except psycopg.OperationalError as error:
            raise connect_error(error, dict(parameters)) from error
        self._set_up(connection)
        return connection

    def _set_up(self, connection: Connection) -> None:
        """What every connection needs: nothing that the server would have to remember."""
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.adapters.register_dumper(HalfVector, HalfVectorDumper)
        connection.add_notice_handler(_pass_on_warning)
        if self._is_pooled is not False:
            connection.prepare_threshold = None


def _with_defaults(parameters: dict[str, str]) -> dict[str, str]:
    return {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "fallback_application_name": "siglip_ingest",
        **parameters,
    }


def _stands_before_server(connection: Connection) -> bool:
    """Whether a pooler does: it makes up the number of the process that it names when one connects."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row != (connection.info.backend_pid,)


def _is_usable(connection: Connection) -> bool:
    """Whether the server is still at the other end, as far as the socket knows: while nothing is asked it is silent."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


def _pass_on_warning(diagnostic: psycopg.errors.Diagnostic) -> None:
    if diagnostic.sqlstate == WARNING_STATE:
        logger.warning("%s", diagnostic.message_primary)
