"""Finds the images below a folder, as a stream, and counts what it left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from siglip_ingest.siglip.preprocess.signatures import START_BYTES, find_format

_MOST_KINDS_SHOWN = 5


class FoundImage(NamedTuple):
    """An image below a folder.

    Attributes:
        parent: The folder that it is in, as a path.
        name: Its name there.
        status: What the system says of the file; of a link, of the file that it leads to.
    """

    parent: str
    name: str
    status: os.stat_result


@dataclass(slots=True)
class SkippedFiles:
    """What a scan left out; complete once the scan has ended.

    Attributes:
        undecodable: How many images nothing here decodes, by suffix.
        others: How many files aren't images, by suffix.
        unreadable: How many folders could not be read.
    """

    undecodable: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0

    def describe_undecodable(self) -> str:
        """Say which images were skipped and what they need; empty where none were."""
        if not self.undecodable:
            return ""
        from siglip_ingest.siglip.preprocess.formats import explain_missing_decoder

        reasons: dict[str, Counter[str]] = {}
        for suffix, count in self.undecodable.items():
            reasons.setdefault(explain_missing_decoder(suffix), Counter())[suffix] = count
        return "; ".join(f"{_count_files(counts.items())} skipped, for which {why}" for why, counts in reasons.items())

    def describe_others(self) -> str:
        """Say how many files were skipped that aren't images; empty where none were."""
        if not self.others:
            return ""
        most = sorted(self.others.items(), key=lambda item: -item[1])[:_MOST_KINDS_SHOWN]
        return f"{_count_files(most)} skipped, not a kind of image that is read"

    def describe_unreadable(self) -> str:
        """Say how many folders could not be read; empty where all could."""
        if not self.unreadable:
            return ""
        return f"{self.unreadable:,} folder{'s' if self.unreadable != 1 else ''} could not be read"

    def describe(self) -> str:
        """Say what was found in a folder without images that can be read, as the end of a sentence."""
        found = (self.describe_undecodable(), self.describe_others(), self.describe_unreadable())
        return "; ".join(filter(None, found)) or "no file was found in it"


@dataclass(frozen=True, slots=True)
class FolderImages:
    """What was found in a folder.

    Attributes:
        paths: The images that can be decoded here, sorted.
        skipped: What was left out.
    """

    paths: list[Path]
    skipped: SkippedFiles

    def describe_undecodable(self) -> str:
        """Say which images were skipped and what they need; empty where none were."""
        return self.skipped.describe_undecodable()

    def describe_skipped(self) -> str:
        """Say what was found in a folder without images that can be read, as the end of a sentence."""
        return self.skipped.describe()


def find_images(folder: Path) -> FolderImages:
    """Look for images below a folder, as `scan_images` does, all at once.

    Raises:
        OSError: If a folder can't be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    skipped = SkippedFiles()
    paths = [Path(found.parent, found.name) for found in scan_images(folder, skipped, on_unreadable=refuse)]
    return FolderImages(paths, skipped)


def scan_images(
    folder: str | os.PathLike[str],
    skipped: SkippedFiles,
    *,
    all_files: bool = False,
    on_unreadable: Callable[[OSError], None] | None = None,
) -> Iterator[FoundImage]:
    """Yield the images below a folder, one by one, without hidden files and dangling links.

    Files are told by their names. Those are taken that the Pillow at hand decodes: another machine's worker may have
    other decoders, but what can't be opened here is better reported now than queued and failed there. A file that is
    named by itself is queued all the same.

    In memory are the names in the folders that lead to the one that is being read; they come in the order of their
    names.

    Args:
        folder: Where to look.
        skipped: Counts what is left out.
        all_files: Look at the first bytes of the files that aren't named like images.
        on_unreadable: Called for a subfolder that can't be read; by default it is counted.

    Raises:
        OSError: If the folder itself can't be read.
    """
    choose = FileChooser(skipped, all_files=all_files)
    waiting = [(root := os.fspath(folder), iter(_list_folder(root, choose)))]
    while waiting:
        parent, entries = waiting[-1]
        prefix = parent if parent.endswith(os.sep) else parent + os.sep
        for name, is_folder in entries:
            path = prefix + name
            if is_folder:
                try:
                    waiting.append((path, iter(_list_folder(path, choose))))
                except OSError as error:
                    skipped.unreadable += 1
                    if on_unreadable is not None:
                        on_unreadable(error)
                    continue
                break
            try:
                yield FoundImage(parent, name, os.stat(path))  # noqa: PTH116  # a Path takes as long as all the rest
            except OSError:  # it went meanwhile
                continue
        else:
            waiting.pop()


def _list_folder(folder: str, choose: FileChooser) -> Iterator[tuple[str, bool]]:
    """Read a folder; yields the names of its images and subfolders, sorted, and whether each is a folder.

    The folder is read at once, before the first name is asked for.
    """
    names: list[str] = []
    folders: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.add(entry.name)
                names.append(entry.name)
            elif entry.is_file() and _is_taken(entry, choose):
                names.append(entry.name)
    names.sort()
    return ((name, name in folders) for name in names)


def suffix_of(name: str) -> str:
    """The suffix of a file's name with its dot, in lower case; empty where there is none."""
    stem, dot, end = name.rpartition(".")
    return f".{end.lower()}" if dot and stem and end else ""


def _is_taken(entry: os.DirEntry[str], choose: FileChooser) -> bool:
    suffix = suffix_of(entry.name)
    is_taken = choose.takes_name(suffix)
    return choose.takes_content(suffix, _read_start(entry.path)) if is_taken is None else is_taken


class FileChooser:
    """Tells which files are images that can be decoded here, and counts the others.

    Args:
        skipped: Counts what is left out.
        all_files: Leave the files to `takes_content` that aren't named like images.
    """

    def __init__(self, skipped: SkippedFiles, *, all_files: bool) -> None:
        from siglip_ingest.siglip.preprocess.formats import IMAGE_SUFFIXES, decodable_suffixes

        self._skipped = skipped
        self._all_files = all_files
        self._known = IMAGE_SUFFIXES
        self._decodable = decodable_suffixes()

    def takes_name(self, suffix: str) -> bool | None:
        """Whether a file with this suffix, in lower case, is such an image; None where its content is to be asked."""
        if suffix in self._decodable:
            return True
        if suffix in self._known:
            self._skipped.undecodable[suffix] += 1
            return False
        if self._all_files:
            return None
        self._skipped.others[suffix] += 1
        return False

    def takes_content(self, suffix: str, start: bytes) -> bool:
        """Whether a file with these first bytes is such an image."""
        from siglip_ingest.siglip.preprocess.formats import IMAGE_FORMATS

        name = find_format(start)
        if name is None:
            self._skipped.others[suffix] += 1
            return False
        usual = next((each.suffixes for each in IMAGE_FORMATS if each.name == name), ())
        if usual and usual[0] not in self._decodable:
            self._skipped.undecodable[usual[0]] += 1
            return False
        return True


def _read_start(path: str) -> bytes:
    """The first bytes of a file; none where it can't be read."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.read(START_BYTES)
    except OSError:
        return b""


def _count_files(counts: Iterable[tuple[str, int]]) -> str:
    """Write `12 .heic files and 1 .heif file were`."""
    counted = [f"{count:,} {suffix or 'suffixless'} file{'s' if count != 1 else ''}" for suffix, count in counts]
    is_one = len(counted) == 1 and counted[0].startswith("1 ")
    listed = counted[0] if len(counted) == 1 else f"{', '.join(counted[:-1])} and {counted[-1]}"
    return f"{listed} {'was' if is_one else 'were'}"
