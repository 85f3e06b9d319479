"""Files, and what isn't one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from siglip_ingest.errors import ImageError
from siglip_ingest.sources.policy import SourcePolicy

_OPEN_FILES = Path("/proc/self/fd")


def read_file(path: Path, *, max_image_bytes: int, policy: SourcePolicy) -> bytes:
    """Read a regular file. A pipe or a device is refused before it is read, since it might never end.

    Raises:
        ImageError: With code `not_allowed`, `not_found`, `permission_denied`, `not_a_file`, `too_large` or
            `fetch_failed`. What lies outside of the allowed folders is `not_allowed` whether it exists or not.
    """
    try:
        _require_allowed(path, os.path.realpath(path), policy)
        # O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} isn't a regular file.", code="not_a_file")
            _require_allowed(path, _find_real_path(path, file.fileno()), policy)
            if status.st_size > max_image_bytes:
                raise too_large(str(path), status.st_size, max_image_bytes)
            content = file.read(max_image_bytes + 1)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ImageError(f"There is no file {path}.", code="not_found") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path} is a folder, not a file.", code="not_a_file") from error
    except PermissionError as error:
        raise ImageError(f"The file {path} may not be read by this user.", code="permission_denied") from error
    except ValueError as error:  # an embedded NUL character
        raise ImageError(f"{str(path)!r} can't be the path of a file.", code="not_found") from error
    except OSError as error:
        if error.errno == errno.ENXIO:  # a Unix socket
            raise ImageError(f"{path} isn't a regular file.", code="not_a_file") from error
        is_retryable = error.errno not in {errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}
        raise ImageError(
            f"The file {path} can't be read: {error.strerror}.", code="fetch_failed", is_retryable=is_retryable
        ) from error
    if len(content) > max_image_bytes:  # it grew while it was read
        raise too_large(str(path), len(content), max_image_bytes)
    return content


def too_large(where: str, size: int, max_image_bytes: int) -> ImageError:
    """Make the error for a file or an answer of too many bytes."""
    message = f"{where} has {size:,} bytes; at most {max_image_bytes:,} are accepted (SIGLIP_MAX_IMAGE_BYTES)."
    return ImageError(message, code="too_large")


def _find_real_path(path: Path, descriptor: int) -> str:
    """Find where the file lies that was opened: the path's links may have been changed since they were looked at."""
    try:
        return str((_OPEN_FILES / str(descriptor)).readlink())
    except OSError:  # no /proc
        real_path = os.path.realpath(path)
        is_same = os.path.samestat(Path(real_path).lstat(), os.fstat(descriptor))
        return real_path if is_same else ""


def _require_allowed(path: Path, real_path: str, policy: SourcePolicy) -> None:
    if policy.allows_file(real_path):
        return
    if not policy.allowed_roots:
        message = f"{path} isn't read, as no local file is: SIGLIP_ALLOWED_ROOTS names the folders that may be read."
    else:
        message = f"{path} isn't read: it doesn't lie in a folder that SIGLIP_ALLOWED_ROOTS names."
    raise ImageError(message, code="not_allowed")
