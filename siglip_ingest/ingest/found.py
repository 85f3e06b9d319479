"""What is found where images are looked for, and how it is looked for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.preprocess.folders import SkippedFiles
from siglip_ingest.sources.policy import SourcePolicy

logger = logging.getLogger(__name__)

_ANY_STORE = SourcePolicy(allowed_roots=None, allowed_hosts=frozenset(), allowed_stores=None)
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Found(NamedTuple):
    """An image that a source stands for.

    Attributes:
        uri: Where it is.
        version: Tells a changed source from the same one.
        content: The bytes of the image file, where the URI leads nowhere.
        key: What its tar calls it.
        metadata: What its tar says of it.
        group: Where the source stands for many images: what it is, as a sentence's beginning.
    """

    uri: str
    version: str | None
    content: bytes | None = None
    key: str | None = None
    metadata: Mapping[str, Any] = _NOTHING
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpandOptions:
    """How images are looked for.

    Attributes:
        all_files: Find images by their content where their names say nothing.
        exif: Have the workers read capture time, camera and place from the images into their metadata.
        policy: Which hosts are asked for a tar at a web address, and which stores are listed.
    """

    all_files: bool = False
    exif: bool = False
    policy: SourcePolicy = _ANY_STORE


DEFAULT_OPTIONS = ExpandOptions()


def report_skipped(where: str, count: int, skipped: SkippedFiles, options: ExpandOptions) -> None:
    """Say what was left out of what has been searched.

    Args:
        where: What was searched, such as `The folder /photos`.
        count: How many images were found.
        skipped: What was left out.
        options: How it was searched.

    Raises:
        InvalidInputError: If no image was found.
    """
    if not count:
        raise InvalidInputError(f"{where} holds no images that can be read: {skipped.describe()}.")
    said = [skipped.describe_undecodable(), skipped.describe_unreadable()]
    if options.all_files:
        said.append(skipped.describe_others())
    if text := "; ".join(filter(None, said)):
        logger.warning("In %s %s.", where[0].lower() + where[1:], text)
