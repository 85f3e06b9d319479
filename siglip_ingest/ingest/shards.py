"""Reads what is in a tar file, as a stream: its images, with the key and metadata that WebDataset keeps beside them.

Members whose names differ in what follows the first dot only are one example, where they follow each other: `0001.jpg`,
`0001.json` and `0001.txt`. Nothing is unpacked, so that a member's name is no more than a name: it may be absolute or
have `..` in it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from siglip_ingest.db.checks import check_mapping, is_storable
from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.ingest.found import ExpandOptions, Found, report_skipped
from siglip_ingest.process import how_to_install
from siglip_ingest.siglip.preprocess.folders import FileChooser, SkippedFiles, suffix_of
from siglip_ingest.siglip.preprocess.signatures import START_BYTES
from siglip_ingest.sources import hide_secrets
from siglip_ingest.sources.files import file_version
from siglip_ingest.sources.members import Place, member_uri, member_version

logger = logging.getLogger(__name__)

COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
_COMPRESSIONS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_MAX_TEXT_BYTES = 1_000_000  # a longer .json or .txt isn't metadata of an image
_MOST_IMAGES = 1000  # of one example: what has more is read in parts, so that memory stays bounded
_BLOCK = 512
_READ_AHEAD_BYTES = 4 * 2**20  # of a tar on the web


class ShardImage(NamedTuple):
    """An image in a tar file.

    Attributes:
        name: The member's.
        offset: Of its first byte in the tar.
        size: In bytes.
        checksum: The one that its header states.
        key: What WebDataset calls it: its name up to the first dot, unless the .json says `__key__`; None where that
            isn't text.
        metadata: Of the .json beside it, and as `caption` the text of the .txt.
    """

    name: str
    offset: int
    size: int
    checksum: int
    key: str | None
    metadata: Mapping[str, Any]


@dataclass(slots=True)
class _Example:
    """The members of one example, as far as they are needed."""

    key: str = ""
    images: list[tarfile.TarInfo] = field(default_factory=list)
    record: Mapping[str, Any] = field(default_factory=dict)
    caption: str | None = None

    def take_images(self) -> Iterator[ShardImage]:
        metadata = {name: value for name, value in self.record.items() if name != "__key__"}
        if self.caption is not None:
            metadata["caption"] = self.caption
        named = self.record.get("__key__")
        key = named if isinstance(named, str) and named else self.key
        for image in self.images:
            own = key if len(self.images) == 1 else posixpath.splitext(image.name)[0]
            yield ShardImage(
                image.name,
                image.offset_data,
                image.size,
                image.chksum,
                own if is_storable(own) else None,  # a name that isn't UTF-8
                metadata,
            )


def is_shard(name: str) -> bool:
    """Whether a file is named like a tar file, compressed or not."""
    return name.lower().endswith((".tar", *COMPRESSED_SUFFIXES))


def scan_shard(file: IO[bytes], where: str, skipped: SkippedFiles, *, all_files: bool = False) -> Iterator[ShardImage]:
    """Yield the images of a tar file in its order, with memory for one example.

    Args:
        file: Seekable, at its start.
        where: What it is called in messages.
        skipped: Counts what is left out.
        all_files: Look at the first bytes of the members that aren't named like images.

    Raises:
        InvalidInputError: If it isn't a tar file, or a compressed one.
    """
    if where.lower().endswith(COMPRESSED_SUFFIXES) or file.read(8).startswith(_COMPRESSIONS):
        raise InvalidInputError(
            f"{where} is compressed, and images are read from their place in a tar: unpack it to a plain .tar first."
        )
    file.seek(0)
    choose = FileChooser(skipped, all_files=all_files)
    example = _Example()
    for member in _read_members(file, where):
        folder, _, base = member.name.rpartition("/")
        stem = base.partition(".")[0]
        if not stem:
            continue  # hidden
        key = f"{folder}/{stem}" if folder else stem
        if key != example.key or len(example.images) >= _MOST_IMAGES:
            yield from example.take_images()
            example = _Example(key)
        _add_member(example, member, suffix_of(base), file, choose)
    yield from example.take_images()


def _add_member(example: _Example, member: tarfile.TarInfo, suffix: str, file: IO[bytes], choose: FileChooser) -> None:
    if suffix in {".json", ".txt"} and member.size <= _MAX_TEXT_BYTES:
        file.seek(member.offset_data)
        content = file.read(member.size)
        if suffix == ".txt":
            example.caption = content.decode("utf-8", "replace").replace("\0", "").strip()
        elif (record := _parse_record(content)) is not None:
            example.record = record
        else:
            logger.warning("%r isn't a JSON object that can be kept, and is left out.", member.name)
    elif (is_taken := choose.takes_name(suffix)) or (
        is_taken is None and choose.takes_content(suffix, _read_start(file, member))
    ):
        example.images.append(member)


def _read_members(file: IO[bytes], where: str) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of a tar, and say where it ends too early."""
    try:
        archive = tarfile.TarFile(fileobj=file, errorlevel=0)
    except (tarfile.TarError, ValueError, OSError) as error:
        raise InvalidInputError(f"{where} can't be read as a tar file: {_explain(error)}.") from error
    previous = None
    count = 0
    try:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all of them
            count += 1
            if previous is not None:
                yield previous
            # A link has no bytes of its own, and those of a sparse file aren't as they stand there.
            previous = member if member.isreg() and not member.issparse() else None
        ends = _is_end(file, archive.offset)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        logger.warning("%s is cut off or damaged after %d members: %s.", where, count, _explain(error))
        return
    if not ends:
        logger.warning("%s is damaged after %d members: no header follows.", where, count)
    if previous is not None:
        yield previous


def _is_end(file: IO[bytes], offset: int) -> bool:
    """Whether a tar ends here: with a block of zeros, or the file's end."""
    file.seek(offset)
    return not file.read(_BLOCK).strip(b"\0")


def _read_start(file: IO[bytes], member: tarfile.TarInfo) -> bytes:
    file.seek(member.offset_data)
    return file.read(min(member.size, START_BYTES))


def _parse_record(content: bytes) -> Mapping[str, Any] | None:
    """A JSON object that PostgreSQL can store; None where it is none."""
    try:
        record = json.loads(content)
        check_mapping(record, "metadata")
    except (ValueError, RecursionError):  # InvalidInputError is a ValueError
        return None
    return record if isinstance(record, dict) else None


def _explain(error: Exception) -> str:
    return str(error) or type(error).__name__


def expand_shard_file(path: Path, options: ExpandOptions) -> Iterator[Found]:
    """Yield the images of a tar file.

    Raises:
        InvalidInputError: If it holds none, or isn't a plain tar file.
        OSError: If it can't be read.
    """
    with path.open("rb") as file:
        version = file_version(os.fstat(file.fileno()))
        yield from expand_shard(file, path.as_uri(), version, options, where=str(path))


def expand_shard_at(address: str, options: ExpandOptions) -> Iterator[Found]:
    """Yield the images of a tar file at a web address, which is read in parts.

    Raises:
        InvalidInputError: If it holds none, isn't a plain tar file, or can't be fetched.
        ConfigurationError: If httpx isn't installed.
    """
    try:
        from siglip_ingest.sources.web_file import WebFile
    except ImportError as error:
        raise ConfigurationError(f"Fetching images from the web needs httpx: {how_to_install('worker')}.") from error
    try:
        raw = WebFile(address, options.policy)
        with io.BufferedReader(raw, _READ_AHEAD_BYTES) as file:
            yield from expand_shard(file, address, raw.version, options)
    except ImageError as error:
        raise InvalidInputError(str(error)) from error


def expand_shard(
    file: IO[bytes], tar_uri: str, version: str, options: ExpandOptions, *, where: str = ""
) -> Iterator[Found]:
    """Yield the images of an open tar file; says afterwards what was left out.

    Args:
        file: Seekable, at its start.
        tar_uri: Where it is.
        version: What tells that it was written again.
        options: How images are looked for.
        where: What it is called in messages; by default its URI.
    """
    where = where or hide_secrets(tar_uri)
    skipped = SkippedFiles()
    group = f"{where!r} is a tar file"
    count = 0
    for image in scan_shard(file, where, skipped, all_files=options.all_files):
        place = Place(version, image.offset, image.size, image.checksum)
        uri = member_uri(tar_uri, image.name)
        count += 1
        yield Found(uri, member_version(place), key=image.key, metadata=image.metadata, group=group)
    report_skipped(f"The tar {where}", count, skipped, options)
