"""Keys of the web API, and sessions of browsers. What is secret of either leaves this module once, when it is made.

The database keeps SHA-256 of them, without salt and in one pass. That would be wrong for passwords, which people choose
and which can be tried; a key has 256 random bits, so that there is nothing to try, and its hash is found by an index in
microseconds with each request.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from siglip_ingest.db.checks import check_name
from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.database import Database
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.errors import AlreadyExistsError, InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

SQL = load_statements("keys")

SCOPES = ("search", "write", "admin")  # each includes those before it
KEY_PREFIX = "siglip_"  # by which scanners for secrets, and people, tell what it is
SESSION_PREFIX = "session_"
SECRET_BYTES = 32
MAX_DAYS = 36_500


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key that was given out.

    Attributes:
        key_id: Key in `siglip.api_keys`.
        name: Who has it.
        scope: What it allows: `search`; `write`, which includes it; `admin`, which includes both.
        created_at: When it was made.
        expires_at: When it ends by itself; None for never.
        revoked_at: When it was taken back; None while it wasn't.
        last_used_at: To about a minute; None where it never was.
    """

    key_id: int
    name: str
    scope: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class ValidKey(NamedTuple):
    """A key that may be used.

    Attributes:
        key_id: Key in `siglip.api_keys`.
        name: Who has it.
        scope: What it allows.
        valid_s: Seconds that it is still valid; None for ever.
        is_use_old: Whether its last use was noted more than a minute ago.
    """

    key_id: int
    name: str
    scope: str
    valid_s: float | None
    is_use_old: bool


def hash_secret(secret: str) -> bytes:
    """SHA-256 of a key or of a session's cookie, 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()


def includes(scope: str, wanted: str) -> bool:
    """Whether a scope allows what another one does."""
    return SCOPES.index(scope) >= SCOPES.index(wanted)


def create_key(connection: Connection, name: str, scope: str, *, days: int | None = None) -> tuple[str, KeyRow]:
    """Make a key.

    Args:
        connection: Of a role that owns the table, or has a policy on it.
        name: Who is to have it.
        scope: `search`, `write` or `admin`.
        days: Its life; None for ever.

    Returns:
        The key, which can't be had again, and its row.

    Raises:
        InvalidInputError: If there is no such scope, or `days` isn't 1 to `MAX_DAYS`.
        AlreadyExistsError: If a key that wasn't revoked has this name.
    """
    check_name(name, "A key")
    if scope not in SCOPES:
        raise InvalidInputError(f"scope must be one of {', '.join(SCOPES)}; not {scope!r}.")
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise InvalidInputError(f"A key lives 1 to {MAX_DAYS:,} days, not {days}.")
    key = KEY_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    parameters = {"name": name, "key_hash": hash_secret(key), "scope": scope, "days": days}
    row = connection.execute(SQL.create_key, parameters).fetchone()
    if row is None:
        raise AlreadyExistsError(f"There is a key of the name {name!r}. Revoke it first, or choose another name.")
    return key, KeyRow(*row)


def list_keys(connection: Connection) -> list[KeyRow]:
    """All keys, those too that were revoked or have expired, in the order in which they were made."""
    return [KeyRow(*row) for row in connection.execute(SQL.list_keys)]


def revoke_key(connection: Connection, name: str) -> None:
    """Take a key back, and end the sessions that were opened with it.

    Raises:
        NotFoundError: If no key that wasn't revoked has this name.
    """
    if connection.execute(SQL.revoke_key, {"name": name}).fetchone() is None:
        raise NotFoundError(f"There is no key of the name {name!r}. `siglip-ingest keys list` lists them.")


def find_key(database: Database, secret: str) -> ValidKey | None:
    """The key that was shown; None where it isn't valid: unknown, revoked, or expired."""
    rows = database.fetch(SQL.find_key, {"key_hash": hash_secret(secret)})
    return ValidKey(*rows[0]) if rows else None


def find_session(database: Database, secret: str) -> ValidKey | None:
    """The key with which a browser's session was opened; None where either isn't valid any more."""
    rows = database.fetch(SQL.find_session, {"session_hash": hash_secret(secret)})
    return ValidKey(*rows[0]) if rows else None


def note_use(connection: Connection, key_id: int) -> None:
    """Note that a key is used, unless that was done within the last minute."""
    connection.execute(SQL.note_use, {"key_id": key_id})


def open_session(connection: Connection, key_id: int, seconds: float) -> str:
    """Open a session of a key for some seconds; returns what its cookie is to hold."""
    secret = SESSION_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    parameters = {"session_hash": hash_secret(secret), "key_id": key_id, "seconds": seconds}
    connection.execute(SQL.open_session, parameters)
    return secret


def close_session(connection: Connection, secret: str) -> None:
    """End a session; nothing happens where it is over."""
    connection.execute(SQL.close_session, {"session_hash": hash_secret(secret)})
