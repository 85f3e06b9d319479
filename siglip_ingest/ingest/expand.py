"""What a source stands for: one row to be queued, or for a folder, a tar or a prefix one for each image in it."""

from __future__ import annotations

import hashlib
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
from siglip_ingest.ingest.folders import expand_folder
from siglip_ingest.ingest.found import DEFAULT_OPTIONS, ExpandOptions, Found
from siglip_ingest.ingest.shards import expand_shard_at, expand_shard_file, is_shard
from siglip_ingest.ingest.stores import expand_store
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.preprocess.files import is_web_address
from siglip_ingest.sources.files import file_version
from siglip_ingest.sources.members import split_member
from siglip_ingest.sources.stores import is_store_address

if TYPE_CHECKING:
    from PIL import Image

    Source: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image | ImageSource"

__all__ = ["ImageSource", "expand", "file_version", "path_of_uri", "size_of_version"]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A source with a key and metadata of its own.

    Attributes:
        source: A path, a folder, an http(s) URL or one of a store, the bytes of an image file, or a PIL image.
        key: What the image is called in your own tables; not for what stands for many images.
        metadata: Added to the metadata of the whole call, and wins over it.
    """

    source: str | os.PathLike[str] | bytes | Image.Image
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def path_of_uri(uri: str) -> Path | None:
    """The file that a `file://` URI names; None for other URIs, those of a tar's members among them."""
    parts = urlsplit(uri)
    is_file = parts.scheme == "file" and not parts.fragment
    return Path(os.fsdecode(unquote_to_bytes(parts.path))) if is_file else None


def size_of_version(version: str | None) -> str:
    """The size in bytes within a `file_version`; of other versions, what no file has."""
    return (version or "").rpartition("-")[2]


def expand(
    source: Source, collection: str, common: Mapping[str, Any], options: ExpandOptions = DEFAULT_OPTIONS
) -> Iterator[images.ImageRow]:
    """Turn one source into rows, as a stream: one, or one for each image in a folder, a tar or a prefix."""
    key, metadata = None, dict(common)
    if isinstance(source, ImageSource):
        check_mapping(source.metadata, "metadata")
        key, metadata, source = check_key(source.key), {**common, **(source.metadata or {})}, source.source
    for found in _resolve(source, options):
        if key is not None and found.group:
            raise InvalidInputError(f"{found.group}: a key names one image. Leave the key out.")
        yield images.ImageRow(
            collection=collection,
            uri=found.uri,
            key=found.key if key is None else key,
            source_version=found.version,
            metadata={**found.metadata, **metadata} if found.metadata else metadata,
            content=found.content,
            reads_exif=options.exif,
        )


def _resolve(source: Any, options: ExpandOptions) -> Iterator[Found]:
    """Yield each image of a source."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield _resolve_content(bytes(source))
    elif isinstance(source, str) and is_web_address(source.strip()):
        yield from _resolve_address(source.strip(), options)
    elif isinstance(source, str) and is_store_address(source):
        yield from expand_store(source, options)
    elif isinstance(source, str | os.PathLike):
        yield from _resolve_path(os.fspath(source), options)
    elif hasattr(source, "getexif"):
        yield _resolve_content(_encode(source))
    else:
        raise InvalidInputError(f"An image is a path, a URL, bytes or a PIL image, not {type(source).__name__}.")


def _resolve_path(text: str | bytes, options: ExpandOptions) -> Iterator[Found]:
    path = _to_path(os.fsdecode(text))
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            yield from expand_folder(path, options)
        elif not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"{path} is neither a file nor a folder.")
        elif is_shard(path.name):
            yield from expand_shard_file(path, options)
        else:
            yield Found(path.as_uri(), file_version(status))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InvalidInputError(f"There is no file or folder {error.filename}.") from error
    except OSError as error:
        raise InvalidInputError(f"{error.filename or path} can't be read: {error.strerror}.") from error


def _to_path(text: str) -> Path:
    """The absolute path of what a user typed: links are kept, `..` isn't."""
    path = path_of_uri(text) if text.startswith("file:") else None
    if path is None:
        if text.startswith("file:") and split_member(text)[1] is not None:
            raise InvalidInputError(f"{text!r} is one image of a tar. Give the tar itself, or a list of images.")
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


def _resolve_content(content: bytes) -> Found:
    if not content:
        raise InvalidInputError("An image was given as bytes, but there are none: the bytes object is empty.")
    return Found(f"sha256:{hashlib.sha256(content).hexdigest()}", None, content=content)


def _resolve_address(address: str, options: ExpandOptions) -> Iterator[Found]:
    try:
        parts = urlsplit(address)
        is_complete = bool(parts.hostname)
    except ValueError:
        is_complete = False
    if not is_complete or not is_storable(address):
        raise InvalidInputError(f"{address!r} isn't a complete address.")
    if is_shard(parts.path):
        yield from expand_shard_at(address, options)
    else:
        yield Found(address, None)


def _encode(image: Image.Image) -> bytes:
    """The upright image as a PNG file, without loss."""
    from siglip_ingest.siglip.preprocess.decode import encode_png

    try:
        return encode_png(image)
    except ImageError as error:
        raise InvalidInputError(str(error)) from error
