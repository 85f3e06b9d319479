"""Fetches the bytes of a queued image from its URI."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.errors import ConfigurationError, ImageError
from siglip_ingest.process import how_to_install
from siglip_ingest.siglip.preprocess.files import WEB_SCHEMES
from siglip_ingest.sources.files import read_file
from siglip_ingest.sources.policy import SourcePolicy
from siglip_ingest.sources.uris import hide_secrets


def fetch(uri: str, *, max_image_bytes: int, timeout_s: float, policy: SourcePolicy) -> bytes:
    """Return the bytes behind a `file://`, `http://` or `https://` URI.

    Args:
        uri: As stored in `siglip.images.uri`.
        max_image_bytes: More bytes than this are refused, for a web server as soon as they are announced or exceeded.
        timeout_s: Seconds that the web has in all: for the name, the connection, the whole answer, and redirects.
        policy: Which files and hosts may be read.

    Raises:
        ImageError: With code `not_allowed`, `not_found`, `permission_denied`, `not_a_file`, `too_large`,
            `fetch_failed` or `unsupported_source`. `is_retryable` is True where a later attempt may succeed. No message
            quotes what was read.
        ConfigurationError: If the URI is a web address and httpx isn't installed.
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:  # its message may quote the password
        raise ImageError(f"{hide_secrets(uri)[:200]!r} isn't an address.", code="unsupported_source") from error
    if parts.scheme == "file":
        path = Path(os.fsdecode(unquote_to_bytes(parts.path)))
        return read_file(path, max_image_bytes=max_image_bytes, policy=policy)
    if parts.scheme not in WEB_SCHEMES:
        raise ImageError(
            f"Images can be read from file://, http:// and https://, not from {parts.scheme or uri[:40]!r}.",
            code="unsupported_source",
        )
    try:
        from siglip_ingest.sources.web import download
    except ImportError as error:
        raise ConfigurationError(f"Fetching images from the web needs httpx: {how_to_install('worker')}.") from error
    return download(uri, max_image_bytes=max_image_bytes, timeout_s=timeout_s, policy=policy)
