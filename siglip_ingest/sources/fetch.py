"""One door for each purpose: `fetch` for what is queued, `open_image` for a query."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.paths import expand_user
from siglip_ingest.sources.files import read_file
from siglip_ingest.sources.policy import UNRESTRICTED, SourcePolicy
from siglip_ingest.sources.uris import WEB_SCHEMES, hide_secrets

if TYPE_CHECKING:
    from PIL import Image


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
        raise ConfigurationError(
            "Fetching images from the web needs httpx: pip install 'siglip-ingest[worker]'."
        ) from error
    return download(uri, max_image_bytes=max_image_bytes, timeout_s=timeout_s, policy=policy)


def open_image(
    source: str | Path | bytes | Image.Image,
    *,
    max_image_bytes: int,
    max_image_pixels: int,
    clip_16_bit: bool = False,
) -> Image.Image:
    """Decode a query's image: a path, the bytes of an image file, or a PIL image.

    Args:
        source: What whoever runs the program names; any file that they may read.
        max_image_bytes: Larger files are refused.
        max_image_pixels: Images of more pixels are refused.
        clip_16_bit: Make of 16-bit grey what transformers makes of it, mostly white; else it is scaled to 8 bits.

    Returns:
        An upright RGB image of the source's own size.

    Raises:
        ImageError: If it can't be read or isn't an image.
        InvalidInputError: If `source` is none of these.
    """
    from PIL import Image

    from siglip_ingest.preprocess.image import decode_image, make_upright_rgb

    if isinstance(source, Image.Image):
        try:
            return make_upright_rgb(source, clip_16_bit=clip_16_bit)
        except (OSError, SyntaxError, ValueError) as error:  # SyntaxError: Pillow's word for a damaged PNG
            raise ImageError("The PIL image can't be read: its file is damaged or gone.", code="unreadable") from error
    if isinstance(source, str | Path):
        content = read_file(expand_user(source), max_image_bytes=max_image_bytes, policy=UNRESTRICTED)
    elif isinstance(source, bytes):
        content = source
    else:
        raise InvalidInputError(
            f"An image is a path, the bytes of an image file or a PIL image, not {type(source).__name__}."
        )
    return decode_image(content, max_image_pixels=max_image_pixels, clip_16_bit=clip_16_bit)
