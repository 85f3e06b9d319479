"""Fetches the bytes of a queued image from its URI."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.errors import ConfigurationError, ImageError
from siglip_ingest.process import how_to_install
from siglip_ingest.siglip.preprocess.files import WEB_SCHEMES, too_large
from siglip_ingest.sources.files import read_file, read_member
from siglip_ingest.sources.members import BLOCK_BYTES, Place, find_place, split_member, take_member
from siglip_ingest.sources.policy import SourcePolicy
from siglip_ingest.sources.stores import is_store_address, read_object
from siglip_ingest.sources.uris import hide_secrets


def fetch(
    uri: str, *, max_image_bytes: int, timeout_s: float, policy: SourcePolicy, version: str | None = None
) -> bytes:
    """Return the bytes behind a `file://`, `http://` or `https://` URI, or one of a store, such as `s3://bucket/a.jpg`.

    Of a tar's member, only its own bytes are read.

    Args:
        uri: As stored in `siglip.images.uri`.
        max_image_bytes: More bytes than this are refused, for a web server as soon as they are announced or exceeded.
        timeout_s: Seconds that the web has in all: for the name, the connection, the whole answer, and redirects.
        policy: Which files, hosts and stores may be read.
        version: As stored in `siglip.images.source_version`; it says where a tar's member is.

    Raises:
        ImageError: With code `not_allowed`, `not_found`, `permission_denied`, `not_a_file`, `too_large`,
            `fetch_failed`, `changed`, `not_supported` or `unsupported_source`. `is_retryable` is True where a later
            attempt may succeed. No message quotes what was read.
        ConfigurationError: If the URI is a web address and httpx isn't installed.
    """
    tar_uri, member = split_member(uri)
    place = None if member is None else find_place(uri, version)
    if place is not None and place.size > max_image_bytes:
        raise too_large(hide_secrets(uri), place.size, max_image_bytes)
    if is_store_address(tar_uri):
        return _fetch_object(tar_uri, place, max_image_bytes, timeout_s, policy)
    try:
        parts = urlsplit(tar_uri)
    except ValueError as error:  # its message may quote the password
        raise ImageError(f"{hide_secrets(uri)[:200]!r} isn't an address.", code="unsupported_source") from error
    if parts.scheme == "file":
        path = Path(os.fsdecode(unquote_to_bytes(parts.path)))
        if place is not None:
            return read_member(path, place, policy=policy)
        return read_file(path, max_image_bytes=max_image_bytes, policy=policy)
    if parts.scheme not in WEB_SCHEMES:
        raise ImageError(
            f"Images can be read from file://, http://, https:// and stores such as s3://, not from "
            f"{parts.scheme or uri[:40]!r}.",
            code="unsupported_source",
        )
    return _fetch_page(tar_uri, place, max_image_bytes, timeout_s, policy)


def _fetch_object(uri: str, place: Place | None, max_image_bytes: int, timeout_s: float, policy: SourcePolicy) -> bytes:
    where = hide_secrets(uri)
    if place is not None:
        start, end = place.offset - BLOCK_BYTES, place.offset + place.size
        return take_member(read_object(uri, timeout_s=timeout_s, policy=policy, start=start, end=end), place, where)
    content = read_object(uri, timeout_s=timeout_s, policy=policy, end=max_image_bytes + 1)
    if len(content) > max_image_bytes:
        raise ImageError(
            f"{where} has more than the {max_image_bytes:,} bytes that are accepted (SIGLIP_MAX_IMAGE_BYTES).",
            code="too_large",
        )
    return content


def _fetch_page(uri: str, place: Place | None, max_image_bytes: int, timeout_s: float, policy: SourcePolicy) -> bytes:
    try:
        from siglip_ingest.sources.web import download
    except ImportError as error:
        raise ConfigurationError(f"Fetching images from the web needs httpx: {how_to_install('worker')}.") from error
    if place is None:
        return download(uri, max_image_bytes=max_image_bytes, timeout_s=timeout_s, policy=policy)
    start, size = place.offset - BLOCK_BYTES, BLOCK_BYTES + place.size
    content = download(uri, max_image_bytes=size, timeout_s=timeout_s, policy=policy, part=(start, start + size))
    return take_member(content, place, hide_secrets(uri))
