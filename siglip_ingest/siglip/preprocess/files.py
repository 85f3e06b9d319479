"""Reads an image file, or downloads one, within a limit of bytes."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from siglip_ingest.errors import ConfigurationError, ImageError
from siglip_ingest.process import how_to_install

WEB_SCHEMES = frozenset({"http", "https"})
_OPEN_FILES = Path("/proc/self/fd")
_BLOCK_BYTES = 1 << 16


def is_web_address(text: str) -> bool:
    """True for text such as `https://example.org/a.jpg`."""
    return text.partition("://")[0].lower() in WEB_SCHEMES


def read_file(path: Path, *, max_image_bytes: int, check_path: Callable[[str], None] | None = None) -> bytes:
    """Read a regular file. A pipe or a device is refused before it is read, since it might never end.

    Args:
        path: The file.
        max_image_bytes: Larger files are refused.
        check_path: Called with the file's path without links and `..`, before it is opened and for what was opened;
            raises where the file must not be read.

    Raises:
        ImageError: With code `not_found`, `permission_denied`, `not_a_file`, `too_large` or `fetch_failed`.
    """
    with open_regular(path, check_path) as (file, status):
        if status.st_size > max_image_bytes:
            raise too_large(str(path), status.st_size, max_image_bytes)
        content = file.read(max_image_bytes + 1)
    if len(content) > max_image_bytes:  # it grew while it was read
        raise too_large(str(path), len(content), max_image_bytes)
    return content


@contextmanager
def open_regular(
    path: Path, check_path: Callable[[str], None] | None = None
) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a regular file, as `read_file` does; yields it and what the system says of it.

    Raises:
        ImageError: With code `not_found`, `permission_denied`, `not_a_file` or `fetch_failed`, within the block too.
    """
    with _os_errors(path):
        if check_path is not None:
            check_path(os.path.realpath(path))
        # O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} isn't a regular file.", code="not_a_file")
            if check_path is not None:
                check_path(_find_real_path(path, file.fileno()))
            yield file, status


@contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Map what the system says of a file to an ImageError."""
    try:
        yield
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


def download_file(url: str, *, max_image_bytes: int, timeout_s: float) -> bytes:
    """Fetch an address that the person at the keyboard named, redirects included, as every other program does.

    Other people's addresses, such as queued ones, go through `siglip_ingest.sources.fetch`, which has a policy.

    Args:
        url: An http(s) address.
        max_image_bytes: A longer answer is refused.
        timeout_s: Seconds that the server may be silent.

    Raises:
        ImageError: With code `fetch_failed`, `not_found` or `too_large`.
        ConfigurationError: If httpx isn't installed.
    """
    try:
        import httpx
    except ImportError as error:
        raise ConfigurationError(f"Fetching images from the web needs httpx: {how_to_install('worker')}.") from error
    content = bytearray()
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=timeout_s) as answer:
            if answer.status_code != httpx.codes.OK:
                code = "not_found" if answer.status_code in {404, 410} else "fetch_failed"
                raise ImageError(f"{url} answered with the status {answer.status_code}.", code=code)
            for block in answer.iter_bytes(_BLOCK_BYTES):
                content += block
                if len(content) > max_image_bytes:
                    raise too_large(url, len(content), max_image_bytes)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise ImageError(f"{url} can't be fetched: {reason}.", code="fetch_failed", is_retryable=True) from error
    return bytes(content)


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
