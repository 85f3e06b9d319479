"""Opens connections, and finds out whether a server or a pooler answers."""

from __future__ import annotations

import logging
import select
from collections.abc import Mapping

import psycopg
from pgvector import HalfVector
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from siglip_ingest.db.connection.errors import connect_error
from siglip_ingest.db.connection.vectors import HalfVectorDumper

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10
WARNING_STATE = "SIG10"  # siglip.embed_text's: what the model doesn't read of a text

Connection = psycopg.Connection[TupleRow]


def add_defaults(parameters: Mapping[str, str]) -> dict[str, str]:
    """Add a time-out and our name to libpq's parameters, where they aren't given."""
    return {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "fallback_application_name": "siglip_ingest",
        **parameters,
    }


def connect(parameters: Mapping[str, str], *, is_pooled: bool | None) -> Connection:
    """Open a connection in autocommit mode; the caller closes it.

    Raises:
        DatabaseError: If the server can't be reached, or refuses the connection.
    """
    try:
        connection = psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]  # all are libpq's strings
    except psycopg.OperationalError as error:
        raise connect_error(error, dict(parameters)) from error
    set_up(connection, is_pooled=is_pooled)
    return connection


def set_up(connection: Connection, *, is_pooled: bool | None) -> None:
    """Set what every connection needs, all of it on the client's side; `is_pooled` is None where it isn't known yet."""
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.adapters.register_dumper(HalfVector, HalfVectorDumper)
    connection.add_notice_handler(_log_warning)
    if is_pooled is not False:
        connection.prepare_threshold = None


def is_behind_pooler(connection: Connection) -> bool:
    """Whether a pooler stands before the server: it makes up the process id that a client is told at its start."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row != (connection.info.backend_pid,)


def is_alive(connection: Connection) -> bool:
    """Whether the server still holds an idle connection; a round trip only where it has sent something meanwhile."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


def _log_warning(diagnostic: psycopg.errors.Diagnostic) -> None:
    if diagnostic.sqlstate == WARNING_STATE:
        logger.warning("%s", diagnostic.message_primary)
