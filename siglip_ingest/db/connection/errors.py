"""Maps psycopg errors to SiglipError. No message holds a password."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict

from siglip_ingest.errors import (
    AlreadyExistsError,
    ConfigurationError,
    DatabaseConflictError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidInputError,
    NotFoundError,
    SchemaVersionError,
    SiglipError,
    WorkerUnavailableError,
)

NO_WORKER_ANSWERED = "SIG01"  # raised by siglip.embed_text
MODEL_CHANGED = "SIG02"  # raised by siglip.store_text
_FULL = ("too many clients", "too many connections", "connection slots", "no more connections allowed")
MIGRATE = "Run `siglip-ingest migrate`."


def parse_url(database_url: str) -> dict[str, str]:
    """Read a libpq URL or connection string into its parameters.

    Raises:
        ConfigurationError: If it isn't one. libpq's own words are left out: they may quote the password.
    """
    try:
        parameters = conninfo_to_dict(database_url) if database_url.strip() else {}
    except psycopg.ProgrammingError:
        parameters = {}
    if not parameters:
        raise ConfigurationError(
            "The database URL can't be read. It looks like postgresql://user:password@host:5432/database, with "
            "special characters in the password written as %40 and the like. Correct SIGLIP_DATABASE_URL."
        ) from None
    return {name: str(value) for name, value in parameters.items() if value is not None}


def describe_server(parameters: dict[str, str]) -> str:
    """Say which database is meant, for messages: host, port and database."""
    host = parameters.get("host") or parameters.get("hostaddr") or "the local socket"
    return f"{host}:{parameters.get('port', '5432')}/{parameters.get('dbname', parameters.get('user', ''))}"


def connect_error(error: psycopg.OperationalError, parameters: dict[str, str]) -> DatabaseError:
    """Map a failed connection to an error that says what to do."""
    server, reason = describe_server(parameters), _hide_password(str(error), parameters)
    user = parameters.get("user", "the current user")
    if "password authentication failed" in reason or "no password supplied" in reason or "fe_sendauth" in reason:
        return DatabaseError(
            f"PostgreSQL at {server} refused the password of {user!r}. Correct it in SIGLIP_DATABASE_URL."
        )
    if "role" in reason and "does not exist" in reason:
        return DatabaseError(
            f"PostgreSQL at {server} has no role {user!r}. Correct SIGLIP_DATABASE_URL, or create the role."
        )
    if "database" in reason and "does not exist" in reason:
        name = parameters.get("dbname", user)
        return DatabaseError(
            f"PostgreSQL at {server} has no database {name!r}. Correct SIGLIP_DATABASE_URL, or create it: "
            f"CREATE DATABASE {name}."
        )
    if "no pg_hba.conf entry" in reason or "permission denied for database" in reason:
        return DatabaseError(f"PostgreSQL at {server} doesn't let {user!r} in: {reason}")
    if any(words in reason for words in _FULL):
        return DatabaseUnavailableError(
            f"PostgreSQL at {server} takes no more connections: {reason} Close some, or raise its max_connections."
        )
    return DatabaseUnavailableError(
        f"No PostgreSQL answered at {server}: {reason} Start it, or correct SIGLIP_DATABASE_URL."
    )


def is_full(error: DatabaseUnavailableError) -> bool:
    """Whether the server is up, but accepts no more connections for now."""
    return any(words in str(error) for words in _FULL)


@contextmanager
def mapped_errors(parameters: dict[str, str]) -> Iterator[None]:
    """Map the psycopg errors that leave the block."""
    try:
        yield
    except psycopg.Error as error:
        raise statement_error(error, parameters) from error


def statement_error(error: psycopg.Error, parameters: dict[str, str]) -> SiglipError:  # noqa: PLR0911  # a table
    """Map a failed statement to an error that says what to do."""
    message = error.diag.message_primary or _hide_password(str(error), parameters)
    sentence = f"{message} {error.diag.message_hint}" if error.diag.message_hint else message
    match error:
        case pg.UndefinedTable() | pg.InvalidSchemaName() | pg.UndefinedColumn() | pg.UndefinedFunction():
            if "siglip." in message or "siglip" in (error.diag.schema_name or "") or '"siglip"' in message:
                return SchemaVersionError(
                    f"The schema siglip at {describe_server(parameters)} is not what is needed: {message}. {MIGRATE}"
                )
            return DatabaseError(sentence)
        case pg.InvalidParameterValue():
            return InvalidInputError(sentence)
        case pg.NoDataFound():
            return NotFoundError(sentence)
        case pg.UniqueViolation() if error.diag.constraint_name is None:  # raised by a function of the schema
            return AlreadyExistsError(sentence)
        case pg.ObjectInUse() | pg.ObjectNotInPrerequisiteState():
            return DatabaseError(sentence)
        case pg.InsufficientPrivilege():
            user = parameters.get("user", "in use")
            return DatabaseError(f"{sentence}. The role {user} needs more rights: migrations/README.md lists them.")
        case pg.QueryCanceled():
            return DatabaseError(f"PostgreSQL stopped the statement: {message}.")
        case pg.DeadlockDetected() | pg.SerializationFailure() | pg.LockNotAvailable():
            return DatabaseConflictError(f"Another transaction was in the way: {message.rstrip('.')}. Try again.")
    return _error_by_state(error, sentence, parameters)


def _error_by_state(error: psycopg.Error, sentence: str, parameters: dict[str, str]) -> SiglipError:
    if error.sqlstate == NO_WORKER_ANSWERED:
        return WorkerUnavailableError(sentence)
    if error.sqlstate == MODEL_CHANGED:
        return DatabaseConflictError(sentence)
    if isinstance(error, pg.IdleInTransactionSessionTimeout):  # this process was suspended, say
        return DatabaseUnavailableError(f"PostgreSQL at {describe_server(parameters)} ended the connection: {sentence}")
    is_gone = error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "53"))
    if is_gone and error.sqlstate is not None and error.diag.severity == "ERROR" and error.sqlstate.startswith("08"):
        return DatabaseUnavailableError(sentence)  # the server is there: another one, with a segment, isn't
    if is_gone and isinstance(error, psycopg.OperationalError):
        return DatabaseUnavailableError(f"PostgreSQL at {describe_server(parameters)} went away: {sentence}")
    return DatabaseError(f"PostgreSQL refused a statement: {sentence}")


def _hide_password(text: str, parameters: dict[str, str]) -> str:
    password = parameters.get("password")
    hidden = text.replace(password, "***") if password else text
    # libpq begins a sentence on a new line, without an end to the one before.
    sentence = " ".join(re.sub(r"(?<![.?!:,;])\s*\n\s*(?=[A-Z])", ". ", hidden).split())
    return sentence if sentence.endswith((".", "?", "!")) else f"{sentence}."
