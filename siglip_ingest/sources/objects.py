"""Lists what is in an object store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.sources.stores import check_address, find_kind, is_known_protocol, open_store, to_image_error
from siglip_ingest.sources.uris import hide_secrets

_MAGIC = re.compile(r"[*?\[]")
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
        kind = find_kind(uri)
    except ImageError as error:
        is_missing = error.code == "not_supported" and is_known_protocol(uri)
        raise (ConfigurationError if is_missing else InvalidInputError)(str(error)) from error
    try:
        store, path = open_store(kind, uri)
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
        reason = str(to_image_error(error, where))
        raise InvalidInputError(reason) from error


def open_object(uri: str) -> IO[bytes]:
    """Open an object for reading, seekable, with some megabytes read ahead; see `find_objects` for what raises."""
    store, path = open_store(find_kind(uri), uri)
    opened: IO[bytes] = store.open(path, "rb", block_size=_READ_AHEAD_BYTES, cache_type="readahead")
    return opened


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
