"""What a source stands for: one row to be queued, or for a folder one for each image in it."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote_to_bytes, urlsplit

from siglip_ingest.db import images
from siglip_ingest.db.checks import check_key, check_mapping, is_storable
from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.siglip.preprocess.folders import find_images

if TYPE_CHECKING:
    from PIL import Image

    Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | ImageSource"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A source with a key and metadata of its own.

    Attributes:
        source: A path, a folder, an http(s) URL, the bytes of an image file, or a PIL image.
        key: What the image is called in your own tables; not for folders.
        metadata: Added to the metadata of the whole call, and wins over it.
    """

    source: str | os.PathLike[str] | bytes | Image.Image
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def path_of_uri(uri: str) -> Path | None:
    """The file that a `file://` URI names; None for other URIs."""
    parts = urlsplit(uri)
    return Path(os.fsdecode(unquote_to_bytes(parts.path))) if parts.scheme == "file" else None


def file_version(status: os.stat_result) -> str:
    """What tells a file that was written again from the same one: its time of writing and its size."""
    return f"{status.st_mtime_ns}-{status.st_size}"


def size_of_version(version: str | None) -> str:
    """The size in bytes within a `file_version`; of other versions, what no file has."""
    return (version or "").rpartition("-")[2]


def expand(source: Source, collection: str, common: Mapping[str, Any]) -> Iterator[images.ImageRow]:
    """Turn one source into rows: one, or for a folder one for each image in it."""
    key, metadata = None, dict(common)
    if isinstance(source, ImageSource):
        check_mapping(source.metadata, "metadata")
        key, metadata, source = check_key(source.key), {**common, **(source.metadata or {})}, source.source
    for uri, version, content in _resolve(source):
        if key is not None and isinstance(source, str | os.PathLike) and content is None and Path(source).is_dir():
            raise InvalidInputError(f"{os.fspath(source)!r} is a folder: a key names one image. Leave the key out.")
        yield images.ImageRow(
            collection=collection, uri=uri, key=key, source_version=version, metadata=metadata, content=content
        )


def _resolve(source: Any) -> Iterator[tuple[str, str | None, bytes | None]]:
    """Yield (uri, source_version, content) of each image of a source."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield _resolve_content(bytes(source))
    elif isinstance(source, str) and is_web_address(source.strip()):
        yield _check_address(source.strip()), None, None
    elif isinstance(source, str | os.PathLike):
        yield from _resolve_path(os.fspath(source))
    elif hasattr(source, "getexif"):
        yield _resolve_content(_encode(source))
    else:
        raise InvalidInputError(f"An image is a path, a URL, bytes or a PIL image, not {type(source).__name__}.")


def _resolve_path(text: str | bytes) -> Iterator[tuple[str, str, None]]:
    path = _to_path(os.fsdecode(text))
    try:
        if path.is_dir():
            found = find_images(path)
            files = found.paths
            if not files:
                raise InvalidInputError(
                    f"The folder {path} holds no images that can be read: {found.describe_skipped()}."
                )
            if skipped := found.describe_undecodable():
                logger.warning("In the folder %s %s.", path, skipped)
        else:
            files = [path]
        for file in files:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode):
                raise InvalidInputError(f"{file} is neither a file nor a folder.")
            yield file.as_uri(), file_version(status), None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(f"There is no file or folder {error.filename}.") from error
    except OSError as error:
        raise InvalidInputError(f"{error.filename or path} can't be read: {error.strerror}.") from error


def _to_path(text: str) -> Path:
    """The absolute path of what a user typed: links are kept, `..` isn't."""
    path = path_of_uri(text)
    if path is None:
        scheme, separator, _ = text.partition("://")
        if separator and scheme.isalnum():
            raise InvalidInputError(
                f"{text!r} can't be read: images come from files, http:// and https://, not from {scheme}://."
            )
        path = expand_user(text)
    if not text.strip() or not _is_encodable(path):
        raise InvalidInputError(f"{text!r} can't be the path of an image.")
    path = path.absolute()
    return path.parent.resolve() / path.name if ".." in path.parent.parts else path


def _is_encodable(path: Path) -> bool:
    """False for what no file can be called."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _resolve_content(content: bytes) -> tuple[str, None, bytes]:
    if not content:
        raise InvalidInputError("An image was given as bytes, but there are none: the bytes object is empty.")
    return f"sha256:{hashlib.sha256(content).hexdigest()}", None, content


def _check_address(address: str) -> str:
    try:
        is_complete = bool(urlsplit(address).hostname)
    except ValueError:
        is_complete = False
    if not is_complete or not is_storable(address):
        raise InvalidInputError(f"{address!r} isn't a complete address.")
    return address


def _encode(image: Image.Image) -> bytes:
    """The upright image as a PNG file, without loss."""
    from siglip_ingest.siglip.preprocess.decode import encode_png

    try:
        return encode_png(image)
    except ImageError as error:
        raise InvalidInputError(str(error)) from error
