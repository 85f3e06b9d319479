"""The schema `siglip`: checking its revision, and migrating it. The schema itself stands in migrations/schema.sql."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.errors import MIGRATE, connect_error, describe_server, parse_url, statement_error
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.errors import ConfigurationError, DatabaseError, InvalidInputError, SchemaVersionError

logger = logging.getLogger(__name__)

SQL = load_statements("schema")

SCHEMA_REVISION = "0010"  # the newest in siglip_migrations; a test holds the two together


def check_schema(database: Database) -> None:
    """Check that the schema is at the revision that this version needs.

    Raises:
        SchemaVersionError: If it is missing, behind or ahead.
    """
    try:
        rows = database.fetch(SQL.get_schema_revision)
    except SchemaVersionError as error:
        raise SchemaVersionError(f"The database {database.server} has no schema siglip yet. {MIGRATE}") from error
    found = rows[0][0] if rows else "base"
    where = f"The schema siglip in {database.server} is at revision {found}"
    if found == "base" or found < SCHEMA_REVISION:
        raise SchemaVersionError(f"{where}, and {SCHEMA_REVISION} is needed. {MIGRATE}")
    if found > SCHEMA_REVISION:
        raise SchemaVersionError(
            f"{where}, which is newer than {SCHEMA_REVISION}, the one this version knows. Upgrade siglip-ingest here."
        )


def migrate(database_url: str, revision: str = "head") -> str | None:
    """Bring the schema to a revision, up or down; nothing happens where it is there already.

    Several callers at once are fine: one migrates, the others wait for it. Known defects of the server's pgvector are
    warned of.

    Args:
        database_url: libpq URL of a role that may create schemas and extensions in the database.
        revision: A revision such as `0002`; `head` for the newest; `base` takes everything away, data included.

    Returns:
        The revision that the schema is at now; None after `base`.

    Raises:
        ConfigurationError: If the URL can't be read, or names a database whose text isn't UTF-8.
        DatabaseUnavailableError: If the server can't be reached.
        DatabaseError: If it refuses the connection or a statement, for lack of rights or of pgvector 0.8; or if another
            migration of the database doesn't end.
        InvalidInputError: If there is no such revision.
        SchemaVersionError: If the database is at a revision that this version doesn't know, or if CREATE EXTENSION
            siglip made the schema, at another one.
    """
    import siglip_migrations

    parameters = parse_url(database_url)
    with _mapped_migration_errors(parameters, revision):
        reached = siglip_migrations.migrate(database_url, revision)
        defects = siglip_migrations.vector_version(database_url).describe_defects()
    if reached is not None and defects is not None:
        logger.warning("PostgreSQL at %s: %s", describe_server(parameters), defects)
    return reached


@contextmanager
def _mapped_migration_errors(parameters: dict[str, str], revision: str) -> Iterator[None]:
    """Turn what a migration raises into errors of this package."""
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    import siglip_migrations

    try:
        yield
    except siglip_migrations.UnknownRevisionError as error:
        raise InvalidInputError(f"There is no schema revision {revision!r}. {error}") from error
    except siglip_migrations.UnsuitableEncodingError as error:
        raise ConfigurationError(
            f"The database in {describe_server(parameters)} has the encoding {error.encoding}, but siglip-ingest needs "
            "UTF8: names and texts come in every script. Make another one, CREATE DATABASE name ENCODING 'UTF8' "
            "TEMPLATE template0, and name it in SIGLIP_DATABASE_URL."
        ) from error
    except siglip_migrations.UnsuitableExtensionError as error:
        version = error.version
        raise DatabaseError(
            f"The database in {describe_server(parameters)} has pgvector {version.created or version.installed}, and "
            "siglip-ingest needs 0.8.0 or newer, whose filtered searches find as many rows as are asked for. "
            f"{version.describe_update()}"
        ) from error
    except siglip_migrations.ExtensionError as error:
        raise SchemaVersionError(
            f"The schema siglip in {describe_server(parameters)} was made by CREATE EXTENSION siglip and is at "
            f"revision {error.found}. {_describe_change(error.wanted)}"
        ) from error
    except CommandError as error:
        raise SchemaVersionError(
            f"The schema siglip in {describe_server(parameters)} can't be brought to {revision!r}: {error}. It was "
            "made by a newer version of siglip-ingest: upgrade here."
        ) from error
    except TimeoutError as error:
        raise DatabaseError(
            f"The schema siglip in {describe_server(parameters)} wasn't migrated: {error} Try again when it has ended; "
            "pg_locks lists its session under locktype 'advisory'."
        ) from error
    except psycopg.Error as error:
        raise _refused(error, parameters) from error
    except DBAPIError as error:
        if isinstance(error.orig, psycopg.Error):
            raise _refused(error.orig, parameters) from error
        raise


def _describe_change(wanted: str) -> str:
    if wanted == "base":
        return "DROP EXTENSION siglip CASCADE takes it away, with all images and vectors."
    return (
        f"ALTER EXTENSION siglip UPDATE TO '{wanted}' brings it to {wanted}, where the server has the files: "
        "`siglip-ingest extension DIR` writes them."
    )


def _refused(error: psycopg.Error, parameters: dict[str, str]) -> Exception:
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return connect_error(error, parameters)
    if isinstance(error, psycopg.errors.FeatureNotSupported | psycopg.errors.UndefinedFile):
        return DatabaseError(
            f"PostgreSQL at {describe_server(parameters)} lacks the extension pgvector 0.8 or newer: "
            f"{error.diag.message_primary}. "
            "Install it on the server (on Debian: apt-get install postgresql-18-pgvector)."
        )
    return statement_error(error, parameters)
