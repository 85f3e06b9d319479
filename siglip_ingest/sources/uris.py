"""Takes passwords and signatures out of URIs, for messages and logs."""

from __future__ import annotations

import re


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
