"""Where image bytes come from, and what is refused: files and http(s) addresses. No SQL, no pixels.

A worker calls `fetch` with the URI of a row of `siglip.images`; a query's picture comes through `open_image`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.paths import expand_user

if TYPE_CHECKING:
    import httpx
    from PIL import Image

MAX_REDIRECTS = 5
PICTURE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
_RETRYABLE_STATUS = {408, 425, 429}
_WEB_SCHEMES = {"http", "https"}


def is_web_address(text: str) -> bool:
    """True for text such as `https://example.org/a.jpg`."""
    return text.partition("://")[0].lower() in _WEB_SCHEMES


def hide_secrets(uri: str) -> str:
    """Take user, password and query, which may hold a signature, out of an address: messages and logs are kept.

    Returns:
        The rest of the address; a `file://` or `sha256:` URI, or a path, as it is.
    """
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() == "file":
        return uri
    authority, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def fetch(uri: str, *, max_image_bytes: int, timeout_s: float) -> bytes:
    """Return the bytes behind a `file://`, `http://` or `https://` URI.

    Args:
        uri: As stored in `siglip.images.uri`.
        max_image_bytes: More bytes than this are refused, for a web server as soon as they are announced or exceeded.
        timeout_s: Seconds that a web server has for its whole answer.

    Raises:
        ImageError: With code `not_found`, `permission_denied`, `not_a_file`, `too_large`, `fetch_failed` or
            `unsupported_source`. `is_retryable` is True where a later attempt may succeed.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        message = f"{hide_secrets(uri)[:200]!r} isn't an address: {error}."
        raise ImageError(message, code="unsupported_source") from error
    if parts.scheme == "file":
        return _read_file(Path(os.fsdecode(unquote_to_bytes(parts.path))), max_image_bytes)
    if parts.scheme in _WEB_SCHEMES:
        return _download(uri, max_image_bytes, timeout_s)
    raise ImageError(
        f"Images can be read from file://, http:// and https://, not from {parts.scheme or uri[:40]!r}.",
        code="unsupported_source",
    )


def find_pictures(folder: Path) -> list[Path]:
    """List the files below a folder that are named like pictures, sorted; without hidden ones and dangling links.

    Raises:
        OSError: If a folder can't be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        named = (Path(parent, name) for name in files if not name.startswith("."))
        found += [path for path in named if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()]
    return sorted(found)


def open_image(source: str | Path | bytes | Image.Image, *, max_image_bytes: int, max_image_pixels: int) -> Image.Image:
    """Decode a query's picture: a path, the bytes of an image file, or a PIL image.

    Returns:
        An upright RGB image of the picture's own size.

    Raises:
        ImageError: If it can't be read or isn't a picture.
        InvalidInputError: If `source` is none of these.
    """
    from PIL import Image

    from siglip_ingest.preprocess.image import decode_image, make_upright_rgb

    if isinstance(source, Image.Image):
        try:
            return make_upright_rgb(source)
        except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: Pillow's word for a damaged PNG
            raise ImageError(f"The PIL image can't be read: {error}.", code="unreadable") from error
    if isinstance(source, str | Path):
        content = _read_file(expand_user(source), max_image_bytes)
    elif isinstance(source, bytes):
        content = source
    else:
        raise InvalidInputError(
            f"A picture is a path, the bytes of an image file or a PIL image, not {type(source).__name__}."
        )
    return decode_image(content, max_image_pixels=max_image_pixels)


def _read_file(path: Path, max_image_bytes: int) -> bytes:
    """Read a regular file. A pipe or a device is refused before it is read, since it might never end."""
    try:
        # O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ImageError(f"{path} isn't a regular file.", code="not_a_file")
            if status.st_size > max_image_bytes:
                raise _too_large(str(path), status.st_size, max_image_bytes)
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
        raise _too_large(str(path), len(content), max_image_bytes)
    return content


def _download(uri: str, max_image_bytes: int, timeout_s: float) -> bytes:
    client = _web_client()
    import httpx

    where = hide_secrets(uri)
    deadline = time.monotonic() + timeout_s
    content = bytearray()
    try:
        with client.stream("GET", uri, timeout=timeout_s) as response:
            _check_status(response, where)
            announced = response.headers.get("content-length", "")
            if announced.isdigit() and int(announced) > max_image_bytes:
                raise _too_large(where, int(announced), max_image_bytes)
            for piece in response.iter_bytes():
                content += piece
                if len(content) > max_image_bytes:
                    raise _too_large(where, len(content), max_image_bytes)
                if time.monotonic() > deadline:
                    raise _fetch_failed(
                        f"{where} took more than {timeout_s:g} s to send its answer.", is_retryable=True
                    )
    except httpx.TimeoutException as error:
        raise _fetch_failed(f"{where} didn't answer within {timeout_s:g} s.", is_retryable=True) from error
    except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
        raise ImageError(
            f"{where} isn't an address that can be fetched: {error}.", code="unsupported_source"
        ) from error
    except httpx.TooManyRedirects as error:
        raise _fetch_failed(f"{where} redirects more than {MAX_REDIRECTS} times.", is_retryable=False) from error
    except httpx.DecodingError as error:
        raise _fetch_failed(f"{where} sent an answer whose compression is broken.", is_retryable=False) from error
    except httpx.HTTPError as error:
        raise _fetch_failed(f"{where} can't be fetched: {error}.", is_retryable=True) from error
    return bytes(content)


def _check_status(response: httpx.Response, where: str) -> None:
    status = response.status_code
    if status == 200:
        return
    answer = f"{where} answered {status} {response.reason_phrase}".rstrip() + "."
    if status in {404, 410}:
        raise ImageError(answer, code="not_found")
    if status in {401, 403}:
        raise ImageError(answer, code="permission_denied")
    raise _fetch_failed(answer, is_retryable=status >= 500 or status in _RETRYABLE_STATUS)


@cache
def _web_client() -> httpx.Client:
    """One client for the process: thread-safe, and it keeps connections to image servers open."""
    try:
        import httpx
    except ImportError as error:
        raise ConfigurationError(
            "Fetching images from the web needs httpx: pip install 'siglip-ingest[worker]'."
        ) from error
    return httpx.Client(
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        headers={"User-Agent": "siglip-ingest", "Accept": "image/*,*/*;q=0.5"},
        limits=httpx.Limits(max_connections=64, max_keepalive_connections=32),
    )


def _too_large(where: str, size: int, max_image_bytes: int) -> ImageError:
    message = f"{where} has {size:,} bytes; at most {max_image_bytes:,} are accepted (SIGLIP_MAX_IMAGE_BYTES)."
    return ImageError(message, code="too_large")


def _fetch_failed(message: str, *, is_retryable: bool) -> ImageError:
    return ImageError(message, code="fetch_failed", is_retryable=is_retryable)
