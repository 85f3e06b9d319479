"""Object stores (S3, Google Cloud Storage, Azure) and whatever else fsspec reaches.

An object's URI is its address as fsspec and the stores' own programs write it: `s3://bucket/photos/a b.jpg`, not
percent-encoded. Credentials, endpoints and regions come from the environment and the configuration of fsspec and of
the store's library, never from an address.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

from siglip_ingest.errors import ImageError
from siglip_ingest.process import how_to_install
from siglip_ingest.sources.policy import STORE_EXTRAS, SourcePolicy
from siglip_ingest.sources.uris import hide_secrets

# Protocols that read this machine, run others or open them as files; http(s) has a policy of its own.
_REFUSED = re.compile(
    r"arrow_hdfs|async_?wrapper|asynclocal|blockcache|cached|dask|data|dir|dvc|file|filecache|generic|git|https?|jlab|"
    r"jupyter|libarchive|local|memory|pyscript|reference|root|sftp|simplecache|ssh|tar|zip"
)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_CONNECTIONS = 64  # at a time to S3, where the library's default is 10


def is_store_address(text: str) -> bool:
    """Whether a text is an address such as `s3://bucket/a.jpg`, of any protocol but files and the web."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and match[1].lower() not in {"file", "http", "https"}


def check_address(uri: str) -> None:
    """Check that an address is one of a store, by its spelling alone.

    Raises:
        ImageError: With code `not_allowed` or `unsupported_source`.
    """
    match = _ADDRESS.fullmatch(uri)
    scheme, rest = (match[1].lower(), match[2]) if match else ("", "")
    where = hide_secrets(uri)
    if _REFUSED.fullmatch(scheme) or "::" in uri.partition("://")[0] or re.search(r"::[a-zA-Z][a-zA-Z0-9+.-]*://", uri):
        raise ImageError(
            f"{where} isn't read: chains, and protocols that read a worker's own disk, are refused.", code="not_allowed"
        )
    authority, _, key = rest.partition("/")
    if not authority or any(part in {".", ".."} for part in key.split("/")):
        raise ImageError(f"{where} isn't the address of an object.", code="unsupported_source")
    if ":" in authority.rpartition("@")[0]:
        raise ImageError(
            f"{where} has a password in it. Credentials come from the environment of who reads.", code="not_allowed"
        )


def read_object(uri: str, *, timeout_s: float, policy: SourcePolicy, start: int = 0, end: int | None = None) -> bytes:
    """Read the bytes from `start` to before `end` of an object, or fewer where it ends before.

    Raises:
        ImageError: With code `not_allowed`, `not_found`, `permission_denied`, `not_supported`, `fetch_failed` or
            `unsupported_source`.
    """
    check_address(uri)
    where = hide_secrets(uri)
    if not policy.allows_object(uri):
        if not is_known_protocol(uri):
            raise ImageError(_explain_protocol(uri), code="unsupported_source")
        raise ImageError(
            f"{where} isn't read: SIGLIP_ALLOWED_STORES names the stores that may be read, such as s3://bucket/photos/.",
            code="not_allowed",
        )
    kind = find_kind(uri)
    try:
        store, path = open_store(kind, uri)
        content = _call(store, "cat_file", path, start=start, end=end, timeout_s=timeout_s)
    except Exception as error:  # a store's library can raise anything; some of it quotes what was signed
        if _is_out_of_range(error):
            return b""
        raise to_image_error(error, where, timeout_s) from error
    return bytes(content)


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()


def is_known_protocol(uri: str) -> bool:
    """Whether an address has a protocol of a store, or of fsspec where that is installed."""
    scheme = _scheme(uri)
    if scheme in STORE_EXTRAS:
        return True
    try:
        from fsspec import available_protocols
    except ImportError:
        return False
    return scheme in available_protocols()


def find_kind(uri: str) -> Any:
    """The class of fsspec that reads an address.

    Raises:
        ImageError: With code `not_supported` if its package is missing, or there is none.
    """
    try:
        from fsspec import get_filesystem_class
        from fsspec.implementations.local import LocalFileSystem

        kind = get_filesystem_class(_scheme(uri))
    except (ImportError, ValueError) as error:
        raise ImageError(_explain_protocol(uri), code="not_supported") from error
    if issubclass(kind, LocalFileSystem):
        raise ImageError(f"{hide_secrets(uri)} isn't read: it is on this machine's disk.", code="not_allowed")
    return kind


def open_store(kind: Any, uri: str) -> tuple[Any, str]:
    """The file system of an address, shared by all threads, and the path there."""
    options = kind._get_kwargs_from_urls(uri)
    return _make_store(os.getpid(), kind, _scheme(uri), tuple(sorted(options.items()))), kind._strip_protocol(uri)


@lru_cache(maxsize=64)
def _make_store(_pid: int, kind: Any, scheme: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """One file system a process (they don't outlive a fork), protocol and account."""
    from fsspec.config import conf

    more: dict[str, Any] = dict(options)
    if scheme in {"s3", "s3a"}:
        more["config_kwargs"] = {"max_pool_connections": _CONNECTIONS, **conf.get("s3", {}).get("config_kwargs", {})}
    return kind(**more)


def _call(store: Any, method: str, *arguments: Any, timeout_s: float | None = None, **options: Any) -> Any:
    """Call a method of a file system, within a time where it is one that waits in a loop of its own."""
    if not getattr(store, "async_impl", False):
        return getattr(store, method)(*arguments, **options)
    from fsspec.asyn import sync

    return sync(store.loop, getattr(store, f"_{method}"), *arguments, timeout=timeout_s, **options)


def _explain_protocol(uri: str) -> str:
    scheme = _scheme(uri)
    if extra := STORE_EXTRAS.get(scheme):
        return f"Reading from {scheme}:// needs another package: {how_to_install(extra)}."
    return (
        f"{hide_secrets(uri)[:200]!r} can't be read: images come from files, http://, https://, s3://, gs://, az:// "
        f"and other protocols of fsspec whose package is installed, not from {scheme}://."
    )


def _is_out_of_range(error: Exception) -> bool:
    """Whether a store says so of an object without a byte."""
    code = getattr(error.__cause__ or error, "response", {})
    return isinstance(code, dict) and code.get("Error", {}).get("Code") == "InvalidRange"


def to_image_error(error: Exception, where: str, timeout_s: float = 0.0) -> ImageError:
    """What a store's library raises, as a sentence that quotes nothing of it."""
    if isinstance(error, ImageError):
        return error
    kind = type(error).__name__
    message, code = f"{where} can't be read: the store failed ({kind}).", "fetch_failed"
    if isinstance(error, FileNotFoundError):
        message, code = f"There is no object {where}.", "not_found"
    elif isinstance(error, PermissionError):
        message, code = f"{where} may not be read with the credentials that are set.", "permission_denied"
    elif "Credentials" in kind:
        message, code = f"{where} can't be read: no credentials are set for it.", "permission_denied"
    elif isinstance(error, ValueError):
        message, code = (
            f"{where} can't be read: settings of its store, such as the account, are missing or wrong.",
            "not_supported",
        )
    elif isinstance(error, TimeoutError) or "Timeout" in kind:
        message = f"{where} wasn't sent within {timeout_s:g} s." if timeout_s else f"{where} doesn't answer."
    return ImageError(message, code=code, is_retryable=code == "fetch_failed")
