"""Every error this package raises on purpose.

    SiglipError
    ├── InvalidInputError        the call is wrong: change its arguments (also a ValueError)
    ├── ConfigurationError       the settings are wrong, or a part that they ask for isn't installed
    ├── NotFoundError            no such image, label set or model in the database (also a LookupError)
    ├── AlreadyExistsError       that name is taken
    ├── ImageError               this one image can't be embedded; carries a `code` for the ledger
    ├── CheckpointError          a checkpoint's files are missing, broken or of another architecture
    │   ├── DownloadError        they could not be fetched                       worth a retry
    │   │   └── HubUnavailableError  the hub doesn't answer, or must not be asked
    │   └── VerificationError    it gives other numbers than published, or than it gave before
    ├── DatabaseError            PostgreSQL refused or failed
    │   ├── DatabaseUnavailableError  no server answers at the URL              worth a retry
    │   ├── DatabaseConflictError     another transaction was in the way         worth a retry
    │   └── SchemaVersionError   the schema is behind or ahead: run `siglip-ingest migrate`
    ├── ServiceError             the embedded services could not start or stop
    └── WorkerUnavailableError   no worker answered in time                      worth a retry

A class says what to do; `is_retryable` says whether the same call may succeed later. A message says what was got, what
was expected, and what to do next. Errors of other libraries are turned into these at the edges, with `from`.
"""

from __future__ import annotations

from typing import ClassVar


class SiglipError(Exception):
    """Base class of every error raised by siglip_ingest."""

    is_retryable: ClassVar[bool] = False


class InvalidInputError(SiglipError, ValueError):
    """An argument can't be used: it is empty, out of range, or of the wrong kind."""


class ConfigurationError(SiglipError):
    """A setting can't be used, or something that it asks for isn't installed."""


class NotFoundError(SiglipError, LookupError):
    """The database holds no such image, label set or model."""


class AlreadyExistsError(SiglipError):
    """The name is taken by something else of its kind."""


class ImageError(SiglipError):
    """One image can't be fetched or decoded. The others of its batch are not affected.

    Attributes:
        code: A short name for the ledger's `error_code`, such as `not_found`, `not_an_image`, `truncated`, `too_large`,
            `unreadable`, `fetch_failed`, `not_allowed`, `unsupported_source`.
        is_retryable: True where a later attempt may succeed (a server that answered 503, a time-out).
    """

    def __init__(self, message: str, *, code: str, is_retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_retryable = is_retryable  # type: ignore[misc]  # an instance may know better than its class


class CheckpointError(SiglipError):
    """A checkpoint's files are missing, broken, or of another architecture."""


class DownloadError(CheckpointError):
    """A checkpoint could not be fetched from the hub."""

    is_retryable = True


class HubUnavailableError(DownloadError):
    """The hub can't be asked: there is no network, or HF_HUB_OFFLINE forbids it."""


class VerificationError(CheckpointError):
    """A checkpoint gives other numbers than are published of it, or than it gave before."""


class DatabaseError(SiglipError):
    """PostgreSQL refused a statement or failed while it ran."""


class DatabaseUnavailableError(DatabaseError):
    """No PostgreSQL answered at the database URL."""

    is_retryable = True


class DatabaseConflictError(DatabaseError):
    """Another transaction was in the way: a deadlock, a lock that wasn't free in time, a model that changed."""

    is_retryable = True


class SchemaVersionError(DatabaseError):
    """The schema `siglip` in the database is not the one this version needs."""


class ServiceError(SiglipError):
    """The embedded PostgreSQL, Redis or worker could not be started or stopped."""


class WorkerUnavailableError(SiglipError):
    """No worker answered in time."""

    is_retryable = True
