"""The schema `siglip` as Alembic migrations. Whole statements stand in sql/; the result on one page is ../schema.sql.

This package imports nothing of siglip_ingest: it creates what `siglip_ingest.db` calls by name.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

    from siglip_migrations.extension import VectorVersion

__all__ = [
    "ExtensionError",
    "UnknownRevisionError",
    "UnsuitableEncodingError",
    "UnsuitableExtensionError",
    "current_revision",
    "downgrade",
    "head_revision",
    "migrate",
    "upgrade",
    "vector_version",
]


# Alembic keeps what it works on in module-level proxies: one thread of a process at a time.
_alembic_lock = threading.Lock()


class UnknownRevisionError(ValueError):
    """No migration of this package has that number. The message lists those that there are."""


class ExtensionError(RuntimeError):
    """The schema was made by CREATE EXTENSION siglip: only ALTER EXTENSION may change it.

    Attributes:
        found: The revision that it is at.
        wanted: The revision that it was to be brought to, or `base`.
    """

    def __init__(self, found: str | None, wanted: str) -> None:
        super().__init__(f"The schema was made by CREATE EXTENSION siglip, at revision {found}, expected {wanted}.")
        self.found = found
        self.wanted = wanted


class UnsuitableEncodingError(ValueError):
    """The database's text isn't UTF-8.

    Attributes:
        encoding: What it is, as PostgreSQL calls it, such as `LATIN1`.
    """

    def __init__(self, encoding: str) -> None:
        super().__init__(f"The database's encoding is {encoding}, expected UTF8.")
        self.encoding = encoding


class UnsuitableExtensionError(ValueError):
    """The database's pgvector is older than the schema needs.

    Attributes:
        version: What the database and the server have.
    """

    def __init__(self, version: VectorVersion) -> None:
        from siglip_migrations.extension import OLDEST, format_version

        super().__init__(
            f"pgvector is at {version.created or version.installed}, expected {format_version(OLDEST)} or newer."
        )
        self.version = version


def upgrade(database_url: str, revision: str = "head") -> None:
    """Bring the schema to a revision; nothing happens where it is there already.

    Several callers at once are fine: one migrates, the others wait for it.

    Args:
        database_url: libpq URL or connection string of a role that may create schemas and extensions in the database.
        revision: A revision such as `0002`, or `head` for the newest.

    Raises:
        UnsuitableEncodingError: If the database's text isn't UTF-8. Nothing was done.
        UnsuitableExtensionError: If its pgvector is too old. Nothing was done.
        ExtensionError: If CREATE EXTENSION siglip made the schema, at another revision. Nothing was done.
        psycopg.Error: If the server can't be reached (as it comes from psycopg).
        sqlalchemy.exc.DBAPIError: If it refuses a statement.
        alembic.util.CommandError: If the database is at a revision that this version doesn't know.
    """
    from alembic import command

    _check_encoding(database_url)
    version = vector_version(database_url)
    if version.is_too_old:
        raise UnsuitableExtensionError(version)
    _check_extension(database_url, head_revision() if revision == "head" else revision)
    with _alembic_lock:
        command.upgrade(_config(database_url), revision)


def downgrade(database_url: str, revision: str) -> None:
    """Take the schema back to a revision; `base` takes everything away, data included.

    Args:
        database_url: As for `upgrade`.
        revision: A revision such as `0001`, or `base`.

    Raises:
        ExtensionError: If CREATE EXTENSION siglip made the schema. Nothing was done.
    """
    from alembic import command

    _check_extension(database_url, revision)
    with _alembic_lock:
        command.downgrade(_config(database_url), revision)


def migrate(database_url: str, revision: str = "head") -> str | None:
    """Bring the schema to a revision, whether that is up or down from where it is.

    Args:
        database_url: As for `upgrade`.
        revision: A revision such as `0002`, `head` for the newest, or `base` for none.

    Returns:
        The revision that the schema is at now; None after `base`.

    Raises:
        UnknownRevisionError: If there is no such revision.
        UnsuitableEncodingError: If the way is up and the database's text isn't UTF-8.
        UnsuitableExtensionError: If the way is up and its pgvector is too old.
        ExtensionError: If CREATE EXTENSION siglip made the schema, and it is at another revision.
    """
    from alembic.script import ScriptDirectory

    known = sorted(script.revision for script in ScriptDirectory.from_config(_config(None)).walk_revisions())
    if revision not in {"head", "base", *known}:
        raise UnknownRevisionError(f"There are base, {', '.join(known)} and head.")
    target = "" if revision == "base" else known[-1] if revision == "head" else revision
    if target < (current_revision(database_url) or ""):
        downgrade(database_url, target or "base")
    elif target:
        upgrade(database_url, target)
    return current_revision(database_url)


def current_revision(database_url: str) -> str | None:
    """The revision that the schema is at; None where it was never migrated, or is at `base`."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        found = connection.execute("SELECT to_regclass('siglip.alembic_version') IS NOT NULL").fetchone()
        if found == (True,):
            row = connection.execute("SELECT version_num FROM siglip.alembic_version").fetchone()
            return None if row is None else str(row[0])
    return None


def head_revision() -> str:
    """Name the newest revision in this package."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config(None)).get_current_head()
    if head is None:
        raise RuntimeError("siglip_migrations/versions holds no migration: the installation is broken, install again.")
    return head


def vector_version(database_url: str) -> VectorVersion:
    """Tell which pgvector a database has, and which its server could give it."""
    import psycopg

    from siglip_migrations.extension import find_vector_version

    with psycopg.connect(database_url, client_encoding="utf8") as connection:
        return find_vector_version(connection)


def _check_extension(database_url: str, wanted: str) -> None:
    """Refuse to change what belongs to the extension: what is added would not, and what belongs can't be dropped."""
    import psycopg

    with psycopg.connect(database_url) as connection:
        is_extension = connection.execute("SELECT FROM pg_extension WHERE extname = 'siglip'").fetchone() is not None
    if is_extension:
        found = current_revision(database_url)
        if found != wanted:
            raise ExtensionError(found, wanted)


def _check_encoding(database_url: str) -> None:
    """Refuse a database that can't hold every text that people search for, or doesn't know what it holds."""
    import psycopg

    with psycopg.connect(database_url, client_encoding="utf8") as connection:  # else SQL_ASCII's text comes as bytes
        row = connection.execute("SELECT current_setting('server_encoding')").fetchone()
    if row != ("UTF8",):
        raise UnsuitableEncodingError(str(row and row[0]))


def _config(database_url: str | None) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "siglip_migrations:")
    config.set_main_option("path_separator", "os")
    config.attributes["database_url"] = database_url
    return config
