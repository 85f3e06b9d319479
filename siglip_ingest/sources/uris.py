"""How URIs are shown: without passwords and signatures, as a path, or as the name of a file."""

from __future__ import annotations

import re
from urllib.parse import unquote

from siglip_ingest.sources.members import member_uri, split_member

# Their addresses have no query: a question mark is a part of an object's name.
_WITHOUT_QUERY = frozenset({"s3", "s3a", "gs", "gcs"})
_WITH_CONTAINER = frozenset({"abfs", "abfss"})  # it stands where other addresses have a user


def name_of_uri(uri: str) -> str:
    """What a person would call an image: the name of its file, without secrets; the start of a content's hash."""
    if uri.startswith("sha256:"):
        return uri[:15]
    shown = hide_secrets(uri)
    return unquote(shown.rstrip("/").rpartition("/")[2]) or shown


def hide_secrets(uri: str) -> str:
    """Take user, password and query, which may hold a signature, out of an address: messages and logs are kept.

    Returns:
        The rest of the address, with the name of a tar's member; a `file://` or `sha256:` URI, or a path, as it is.
    """
    tar_uri, member = split_member(uri)
    if member is not None:
        return member_uri(hide_secrets(tar_uri), member)
    scheme, separator, rest = uri.partition("://")
    if not separator or scheme.lower() == "file":
        return uri
    shown = rest if scheme.lower() in _WITHOUT_QUERY else re.split(r"[?#]", rest, maxsplit=1)[0]
    authority, slash, path = shown.partition("/")
    if scheme.lower() in _WITH_CONTAINER and ":" not in authority.rpartition("@")[0]:
        return f"{scheme}://{shown}"
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def format_uri(uri: str) -> str:
    """A `file://` URI as the path that people know; other URIs as they are. Control characters are escaped."""
    text = unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
