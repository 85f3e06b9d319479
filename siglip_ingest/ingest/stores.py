"""The images of an object store, as a stream."""

from __future__ import annotations

from collections.abc import Iterator

from siglip_ingest.db.checks import is_storable
from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.ingest.found import ExpandOptions, Found, report_skipped
from siglip_ingest.ingest.shards import expand_shard, is_shard
from siglip_ingest.siglip.preprocess.folders import FileChooser, SkippedFiles, suffix_of
from siglip_ingest.siglip.preprocess.signatures import START_BYTES
from siglip_ingest.sources import hide_secrets
from siglip_ingest.sources.members import split_member
from siglip_ingest.sources.objects import StoreObject, find_objects, open_object
from siglip_ingest.sources.stores import read_object

_LOOK_S = 20.0  # for the first bytes of an object


def expand_store(uri: str, options: ExpandOptions) -> Iterator[Found]:
    """Yield the images at an address of a store: an object, all below a prefix or of a pattern, or a tar's members.

    Raises:
        InvalidInputError: If there is none, or the address can't be read.
        ConfigurationError: If the package that reads this store isn't installed.
    """
    where = hide_secrets(uri)
    if not is_storable(uri):
        raise InvalidInputError(f"{where!r} can't be an address.")
    if split_member(uri)[1] is not None:
        raise InvalidInputError(f"{where!r} is one image of a tar. Give the tar itself.")
    if options.policy.allowed_stores is not None and not options.policy.allows_object(uri):
        raise InvalidInputError(f"{where} isn't read: SIGLIP_ALLOWED_STORES doesn't name it.")
    skipped = SkippedFiles()
    choose = FileChooser(skipped, all_files=options.all_files)
    group = f"{where!r} stands for many objects"
    count = 0
    for found in find_objects(uri):
        if found.uri == uri or (is_shard(found.uri) and not uri.endswith("/")):
            yield from _expand_object(found, options)
            count += 1
        elif _is_taken(found.uri, uri, choose, options):
            yield Found(found.uri, found.version, group=group)
            count += 1
    if count == 0 and not (skipped.others or skipped.undecodable):
        raise InvalidInputError(f"There is no object {where}, and none below it.")
    report_skipped(f"The store's {where}", count, skipped, options)


def _expand_object(found: StoreObject, options: ExpandOptions) -> Iterator[Found]:
    if is_shard(found.uri):
        with open_object(found.uri) as file:
            yield from expand_shard(file, found.uri, found.version, options)
    else:
        yield Found(found.uri, found.version)


def _is_taken(uri: str, root: str, choose: FileChooser, options: ExpandOptions) -> bool:
    """Whether an object below a prefix is an image; as in folders, what begins with a dot is left out."""
    below = uri.removeprefix(root).lstrip("/")
    if any(part.startswith(".") for part in below.split("/")) or not is_storable(uri) or split_member(uri)[1]:
        return False
    suffix = suffix_of(uri.rpartition("/")[2])
    is_taken = choose.takes_name(suffix)
    if is_taken is not None:
        return is_taken
    try:
        start = read_object(uri, timeout_s=_LOOK_S, policy=options.policy, end=START_BYTES)
    except ImageError:
        start = b""
    return choose.takes_content(suffix, start)
