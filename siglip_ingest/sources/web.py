"""Web servers: one GET with its redirects, to addresses that a policy allows, within one deadline.

httpx reads addresses and bodies, httpcore speaks to servers through our own network backend: it is asked for a host,
resolves the name once, and connects to an address that it has looked at, so that no second answer of a name server
and no spelling of an address comes in between. TLS and the Host header keep the name. There is no `httpx.Client`, which
would go through the environment's proxies, past the check, and send what ~/.netrc has.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from http.client import OK, PARTIAL_CONTENT, responses
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from siglip_ingest.errors import ImageError
from siglip_ingest.siglip.preprocess.files import is_web_address, too_large
from siglip_ingest.sources.addresses import IPAddress, read_address, resolve
from siglip_ingest.sources.policy import SourcePolicy
from siglip_ingest.sources.uris import hide_secrets

MAX_REDIRECTS = 5

_T = TypeVar("_T")

_HEADERS = {"User-Agent": "siglip-ingest", "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "gzip, deflate"}
_AS_IT_IS = {"Accept-Encoding": "identity"}  # a part of something compressed could not be read
_REDIRECTS = {301, 302, 303, 307, 308}
_RETRYABLE_STATUS = {408, 425, 429}

# When the exchange of this thread must be over, by time.monotonic. httpcore's own timeouts are for one read each: a
# server that sends a byte now and then would hold a thread for ever.
_deadline: ContextVar[float] = ContextVar("deadline")


class Part(NamedTuple):
    """A part of what is at an address.

    Attributes:
        content: Its bytes.
        size: Of the whole, in bytes.
        version: The server's ETag, or its time of writing, with the size.
    """

    content: bytes
    size: int
    version: str


def download(
    uri: str,
    *,
    max_image_bytes: int,
    timeout_s: float,
    policy: SourcePolicy,
    part: tuple[int, int] | None = None,
) -> bytes:
    """Return what an http(s) address answers, or the bytes from one place to before another of it; see `fetch`."""
    if part is not None:
        return download_part(uri, *part, timeout_s=timeout_s, policy=policy).content
    where = hide_secrets(uri)
    return _download(uri, where, timeout_s, policy, {}, lambda answer: _read(answer, where, max_image_bytes))


def download_part(uri: str, start: int, end: int, *, timeout_s: float, policy: SourcePolicy) -> Part:
    """Return the bytes from `start` to before `end` of what is at an http(s) address; fewer where it ends before.

    Raises:
        ImageError: As `fetch`; with code `not_supported` if the server sends no parts.
    """
    where = hide_secrets(uri)

    def read(answer: httpx.Response) -> Part:
        if answer.status_code == OK:
            raise ImageError(
                f"{where} can't be read in parts: its server sends all of it at once.", code="not_supported"
            )
        if answer.status_code != PARTIAL_CONTENT:
            _check_status(answer.status_code, where)
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        if not total.isdigit():
            raise _fetch_failed(f"{where} sent a part without saying of what.", is_retryable=False)
        tag = answer.headers.get("etag") or answer.headers.get("last-modified") or ""
        return Part(_read_body(answer, where, end - start), int(total), f"{tag.strip(chr(34))}-{total}")

    return _download(uri, where, timeout_s, policy, {"Range": f"bytes={start}-{end - 1}", **_AS_IT_IS}, read)


def _download(
    uri: str,
    where: str,
    timeout_s: float,
    policy: SourcePolicy,
    headers: Mapping[str, str],
    read: Callable[[httpx.Response], _T],
) -> _T:
    token = _deadline.set(time.monotonic() + timeout_s)
    try:
        return _follow(uri, where, policy, headers, read)
    except (httpcore.TimeoutException, TimeoutError) as error:
        raise _fetch_failed(f"{where} didn't send its answer within {timeout_s:g} s.", is_retryable=True) from error
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise ImageError(f"{where} isn't an address that can be fetched.", code="unsupported_source") from error
    except httpx.DecodingError as error:
        raise _fetch_failed(f"{where} sent an answer whose compression is broken.", is_retryable=False) from error
    except httpcore.ConnectError as error:  # its cause is its context: the pool raises it "from None"
        raise _fetch_failed(f"{where} can't be fetched: {_explain(error.__context__)}.", is_retryable=True) from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:  # some quote what the server sent
        raise _fetch_failed(
            f"{where} can't be fetched: the connection broke, or no web server answers there.", is_retryable=True
        ) from error
    finally:
        _deadline.reset(token)


def _follow(
    uri: str, where: str, policy: SourcePolicy, headers: Mapping[str, str], read: Callable[[httpx.Response], _T]
) -> _T:
    for _ in range(MAX_REDIRECTS + 1):
        _check_spelling(uri, policy)
        with _get(uri, policy, headers) as response:
            location = response.headers.get("location")
            if response.status_code not in _REDIRECTS or location is None:
                return read(response)
        uri = urljoin(uri, location)
        if not is_web_address(uri):
            raise ImageError(f"{where} redirects to what isn't a web address.", code="unsupported_source")
    raise _fetch_failed(f"{where} redirects more than {MAX_REDIRECTS} times.", is_retryable=False)


def _check_spelling(uri: str, policy: SourcePolicy) -> None:
    """Refuse an IP address that isn't allowed under the code that says so, also where httpx can't read its spelling."""
    parts = urlsplit(uri)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    address = read_address(host)
    if address is not None and not policy.allows_address(host, port, address):
        raise _not_allowed(host)


@contextmanager
def _get(uri: str, policy: SourcePolicy, more_headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """Ask for an address; the body is read within the block."""
    url = httpx.URL(uri)
    headers = {**_HEADERS, **more_headers}
    if url.username or url.password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"{url.username}:{url.password}".encode()).decode()
    request = httpx.Request("GET", url, headers=headers)
    answer = _pool(policy).handle_request(
        httpcore.Request(
            "GET",
            httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            extensions={"timeout": {"pool": _seconds_left()}},
        )
    )
    response = httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer), request=request)
    try:
        yield response
    finally:
        response.close()


def _read(response: httpx.Response, where: str, max_image_bytes: int) -> bytes:
    _check_status(response.status_code, where)
    return _read_body(response, where, max_image_bytes)


def _read_body(response: httpx.Response, where: str, max_image_bytes: int) -> bytes:
    announced = response.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_image_bytes:
        raise too_large(where, int(announced), max_image_bytes)
    content = bytearray()
    for piece in response.iter_bytes():
        content += piece
        if len(content) > max_image_bytes:
            raise too_large(where, len(content), max_image_bytes)
    return bytes(content)


def _check_status(status: int, where: str) -> None:
    if status == OK:
        return
    answer = (
        f"{where} answered {status} {responses.get(status, '')}".rstrip() + "."
    )  # the server's own words may be any
    if status in {404, 410}:
        raise ImageError(answer, code="not_found")
    if status in {401, 403}:
        raise ImageError(answer, code="permission_denied")
    raise _fetch_failed(answer, is_retryable=status >= 500 or status in _RETRYABLE_STATUS)


@cache
def _pool(policy: SourcePolicy) -> httpcore.ConnectionPool:
    """One pool for the process and policy: thread-safe, and it keeps connections to image servers open."""
    return httpcore.ConnectionPool(
        ssl_context=httpx.create_ssl_context(),
        max_connections=64,
        max_keepalive_connections=32,
        keepalive_expiry=5.0,
        network_backend=_Backend(policy),
    )


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that a policy allows, until the deadline."""

    def __init__(self, policy: SourcePolicy) -> None:
        self._policy = policy
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # the deadline's, here and below
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address of a host that is allowed and answers."""
        addresses = self._resolve(host.rstrip("."), port)
        for later, address in zip(reversed(range(len(addresses))), addresses, strict=True):
            try:
                stream = self._plain.connect_tcp(
                    str(address), port, _seconds_left() / (later + 1), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not later:
                    raise
            else:
                return _Stream(stream)
        raise httpcore.ConnectError

    def _resolve(self, host: str, port: int) -> list[IPAddress]:
        try:
            found = resolve(host, port, _seconds_left())
        except TimeoutError:
            raise
        except OSError as error:
            raise httpcore.ConnectError from error
        allowed = [address for address in found if self._policy.allows_address(host, port, address)]
        if found and not allowed:
            raise _not_allowed(host)
        return allowed


class _Stream(httpcore.NetworkStream):
    """A connection whose every step ends at the deadline of the exchange that uses it."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._stream.read(max_bytes, _seconds_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._stream.write(buffer, _seconds_left())

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, _seconds_left()))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Body(httpx.SyncByteStream):
    """httpcore's body as httpx takes it, to undo its compression."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return iter(cast("Iterable[bytes]", self._answer.stream))

    def close(self) -> None:
        self._answer.close()


def _seconds_left() -> float:
    left_s = _deadline.get() - time.monotonic()
    if left_s <= 0:
        raise httpcore.ReadTimeout
    return left_s


def _explain(cause: BaseException | None) -> str:
    if isinstance(cause, socket.gaierror):
        return "no host of that name is known"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "its certificate can't be trusted"
    if isinstance(cause, ssl.SSLError):
        return "it doesn't speak TLS as it should"
    number = getattr(cause, "errno", None)
    return os.strerror(number) if number else "no connection can be made"


def _fetch_failed(message: str, *, is_retryable: bool) -> ImageError:
    return ImageError(message, code="fetch_failed", is_retryable=is_retryable)


def _not_allowed(host: str) -> ImageError:
    message = (
        f"{host[:200]!r} isn't fetched from: it leads to this machine, a private network or another address that isn't "
        "public. SIGLIP_ALLOWED_HOSTS names the hosts that may be fetched from all the same."
    )
    return ImageError(message, code="not_allowed")
