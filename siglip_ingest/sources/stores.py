"""Object stores (S3, Google Cloud Storage, Azure) and whatever else fsspec reaches.

An object's URI is its address as fsspec and the stores' own programs write it: `s3://bucket/photos/a b.jpg`, not
percent-encoded. Credentials, endpoints and regions come from the environment and the configuration of fsspec and of
the store's library, never from an address.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import IO, Any

from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.process import how_to_install
from siglip_ingest.sources.policy import STORE_EXTRAS, SourcePolicy
from siglip_ingest.sources.uris import hide_secrets

# Protocols that read this machine, run others or open them as files; http(s) has a policy of its own.
_REFUSED = re.compile(
    r"arrow_hdfs|async_?wrapper|asynclocal|blockcache|cached|dask|data|dir|dvc|file|filecache|generic|git|https?|jlab|"
    r"jupyter|libarchive|local|memory|pyscript|reference|root|sftp|simplecache|ssh|tar|zip"
)
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_MAGIC = re.compile(r"[*?\[]")
_CONNECTIONS = 64  # at a time to S3, where the library's default is 10
_READ_AHEAD_BYTES = 4 * 2**20
_TAGS = ("ETag", "etag", "md5Hash", "checksum", "content_md5")  # what stores call what tells an object's content
_TIMES = ("LastModified", "last_modified", "updated", "modified", "mtime", "modify", "modificationTime")


@dataclass(frozen=True, slots=True)
class StoreObject:
    """An object of a store.

    Attributes:
        uri: Its address.
        version: Its ETag or the like and its size, or its time of writing and its size.
    """

    uri: str
    version: str


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
        if not _is_known(_scheme(uri)):
            raise ImageError(_explain_protocol(uri), code="unsupported_source")
        raise ImageError(
            f"{where} isn't read: SIGLIP_ALLOWED_STORES names the stores that may be read, such as s3://bucket/photos/.",
            code="not_allowed",
        )
    try:
        store, path = _open_store(uri)
        content = _call(store, "cat_file", path, start=start, end=end, timeout_s=timeout_s)
    except (ImportError, ValueError) as error:
        raise ImageError(_explain_protocol(uri), code="not_supported") from error
    except Exception as error:  # a store's library can raise anything; some of it quotes what was signed
        if _is_out_of_range(error):
            return b""
        raise _to_image_error(error, where, timeout_s) from error
    return bytes(content)


def find_objects(uri: str) -> Iterator[StoreObject]:
    """Yield the object that an address names; or where it ends in a slash, or names a prefix, all objects below.

    `*`, `?` and `[...]` are patterns where no object is called so: `s3://bucket/shards-*.tar`.

    Raises:
        InvalidInputError: If there is none, or it can't be read.
        ConfigurationError: If the package that reads this store isn't installed.
    """
    where = hide_secrets(uri)
    try:
        check_address(uri)
        store, path = _open_store(uri)
    except ImageError as error:
        raise InvalidInputError(str(error)) from error
    except (ImportError, ValueError) as error:
        is_known = isinstance(error, ImportError) or _scheme(uri) in STORE_EXTRAS
        raise (ConfigurationError if is_known else InvalidInputError)(_explain_protocol(uri)) from error
    try:
        name_uri = _name_uris(uri)
        info = None if uri.endswith("/") else _find_info(store, path)
        if info is not None and info.get("type") != "directory":
            yield StoreObject(uri, _version_of(info))
        elif info is None and _MAGIC.search(path):
            yield from _find_matching(store, path, name_uri)
        else:
            for found in _list_below(store, path.rstrip("/") + "/"):
                yield StoreObject(name_uri(found["name"]), _version_of(found))
    except Exception as error:
        if isinstance(error, InvalidInputError | ConfigurationError | GeneratorExit):
            raise
        reason = str(_to_image_error(error, where, 0.0))
        raise InvalidInputError(reason) from error


def open_object(uri: str) -> IO[bytes]:
    """Open an object for reading, seekable, with some megabytes read ahead; see `find_objects` for what raises."""
    store, path = _open_store(uri)
    opened: IO[bytes] = store.open(path, "rb", block_size=_READ_AHEAD_BYTES, cache_type="readahead")
    return opened


def _scheme(uri: str) -> str:
    return uri.partition("://")[0].lower()


def _is_known(scheme: str) -> bool:
    """Whether this is a protocol of a store, or of fsspec where that is installed."""
    if scheme in STORE_EXTRAS:
        return True
    try:
        from fsspec import available_protocols
    except ImportError:
        return False
    return scheme in available_protocols()


def _open_store(uri: str) -> tuple[Any, str]:
    """The file system of an address, shared by all threads, and the path there.

    Raises:
        ImportError: If a package is missing.
        ValueError: If fsspec doesn't know the protocol.
    """
    from fsspec import get_filesystem_class

    kind = get_filesystem_class(_scheme(uri))
    options = kind._get_kwargs_from_urls(uri)
    return _make_store(os.getpid(), _scheme(uri), tuple(sorted(options.items()))), kind._strip_protocol(uri)


@lru_cache(maxsize=64)
def _make_store(_pid: int, scheme: str, options: tuple[tuple[str, Any], ...]) -> Any:
    """One file system a process (they don't outlive a fork), protocol and account."""
    from fsspec import get_filesystem_class
    from fsspec.config import conf
    from fsspec.implementations.local import LocalFileSystem

    kind = get_filesystem_class(scheme)
    if issubclass(kind, LocalFileSystem):
        raise ValueError(scheme)  # noqa: TRY004  as for a protocol that fsspec doesn't know
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


def _find_info(store: Any, path: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = store.info(path)
    except FileNotFoundError:
        return None
    return found


def _find_matching(store: Any, path: str, name_uri: Callable[[str], str]) -> Iterator[StoreObject]:
    from fsspec.utils import glob_translate

    fixed = path[: _MAGIC.search(path).start()]  # type: ignore[union-attr]  # it was looked for
    below, slash, _ = fixed.rpartition("/")
    if not slash:
        raise InvalidInputError(f"{path} has a pattern where the bucket's name must be.")
    fits = re.compile(glob_translate(path))
    for found in _list_below(store, f"{below}/"):
        if fits.match(found["name"]):
            yield StoreObject(name_uri(found["name"]), _version_of(found))


def _list_below(store: Any, path: str) -> Iterator[Mapping[str, Any]]:
    """Yield what a store says of each object below a path that ends in a slash, with memory for a page or a folder."""
    if hasattr(store, "call_s3") and not store.version_aware:
        yield from _list_s3(store, path)
        return
    waiting = [path.rstrip("/")]
    while waiting:
        listed = store.ls(waiting.pop(), detail=True)
        store.invalidate_cache()
        yield from (found for found in listed if found["type"] != "directory")
        waiting += sorted((found["name"] for found in listed if found["type"] == "directory"), reverse=True)


def _list_s3(store: Any, path: str) -> Iterator[Mapping[str, Any]]:
    """List a prefix of S3, a thousand keys a request, in their order: `walk` would ask once a folder, and keep it."""
    bucket, _, prefix = path.partition("/")
    more: dict[str, str] = {}
    while True:
        page = store.call_s3("list_objects_v2", store.kwargs, Bucket=bucket, Prefix=prefix, **store.req_kw, **more)
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):
                yield {**found, "name": f"{bucket}/{found['Key']}", "size": found["Size"]}
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _name_uris(uri: str) -> Callable[[str], str]:
    """How names that a store lists become addresses of the spelling of `uri`."""
    scheme, _, rest = uri.partition("://")
    authority = rest.partition("/")[0]

    def name_uri(name: str) -> str:
        key = name if name.startswith("/") else "/" + name.partition("/")[2]
        return f"{scheme}://{authority}{key}"

    return name_uri


def _version_of(info: Mapping[str, Any]) -> str:
    """What tells an object that was written again from the same one."""
    size = info.get("size", "")
    tag = next((info[name] for name in _TAGS if info.get(name)), None)
    if tag is None:
        time = next((info[name] for name in _TIMES if info.get(name)), "")
        tag = time.isoformat() if hasattr(time, "isoformat") else time
    return f"{str(tag).strip(chr(34))}-{size}"


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


def _to_image_error(error: Exception, where: str, timeout_s: float) -> ImageError:
    """What a store's library raises, as a sentence that quotes nothing of it."""
    if isinstance(error, ImageError):
        return error
    kind = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return ImageError(f"There is no object {where}.", code="not_found")
    if isinstance(error, PermissionError):
        return ImageError(f"{where} may not be read with the credentials that are set.", code="permission_denied")
    if "Credentials" in kind:
        return ImageError(f"{where} can't be read: no credentials are set for it.", code="permission_denied")
    if isinstance(error, TimeoutError) or "Timeout" in kind:
        message = f"{where} wasn't sent within {timeout_s:g} s." if timeout_s else f"{where} doesn't answer."
        return ImageError(message, code="fetch_failed", is_retryable=True)
    return ImageError(f"{where} can't be read: the store failed ({kind}).", code="fetch_failed", is_retryable=True)
