"""Lists the images below a folder, and counts what it left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_MOST_KINDS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FolderImages:
    """What was found in a folder.

    Attributes:
        paths: The images that can be decoded here, sorted.
        undecodable: How many images were skipped because nothing here decodes them, by suffix.
        others: How many files aren't named like images, by suffix.
    """

    paths: list[Path]
    undecodable: Mapping[str, int]
    others: Mapping[str, int]

    def describe_undecodable(self) -> str:
        """Say which images were skipped and what they need; empty where none were."""
        if not self.undecodable:
            return ""
        from siglip_ingest.siglip.preprocess.formats import explain_missing_decoder

        reasons: dict[str, Counter[str]] = {}
        for suffix, count in self.undecodable.items():
            reasons.setdefault(explain_missing_decoder(suffix), Counter())[suffix] = count
        return "; ".join(f"{_count_files(counts.items())} skipped, for which {why}" for why, counts in reasons.items())

    def describe_skipped(self) -> str:
        """Say what was found in a folder without images that can be read, as the end of a sentence."""
        others = ""
        if self.others:
            most = sorted(self.others.items(), key=lambda item: -item[1])[:_MOST_KINDS_SHOWN]
            others = f"{_count_files(most)} skipped, not a kind of image that is read"
        return "; ".join(filter(None, (self.describe_undecodable(), others))) or "no file was found in it"


def find_images(folder: Path) -> FolderImages:
    """Look for images below a folder, without hidden files and dangling links.

    Files are told by their names. Those are taken that the Pillow at hand decodes: another machine's worker may have
    other decoders, but what nobody here can open is better reported now than queued and failed there. A file that is
    named by itself is queued all the same.

    Raises:
        OSError: If a folder can't be read.
    """
    from siglip_ingest.siglip.preprocess.formats import IMAGE_SUFFIXES, decodable_suffixes

    def refuse(error: OSError) -> None:
        raise error

    decodable = decodable_suffixes()
    paths: list[Path] = []
    undecodable: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            suffix = path.suffix.lower()
            if name.startswith(".") or not path.is_file():
                continue
            if suffix in decodable:
                paths.append(path)
            elif suffix in IMAGE_SUFFIXES:
                undecodable[suffix] += 1
            else:
                others[suffix] += 1
    return FolderImages(sorted(paths), undecodable, others)


def _count_files(counts: Iterable[tuple[str, int]]) -> str:
    """Write `12 .heic files and 1 .heif file were`."""
    counted = [f"{count:,} {suffix or 'suffixless'} file{'s' if count != 1 else ''}" for suffix, count in counts]
    is_one = len(counted) == 1 and counted[0].startswith("1 ")
    listed = counted[0] if len(counted) == 1 else f"{', '.join(counted[:-1])} and {counted[-1]}"
    return f"{listed} {'was' if is_one else 'were'}"
