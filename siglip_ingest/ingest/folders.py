"""The images of a folder, as a stream."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

from siglip_ingest.ingest.found import ExpandOptions, Found, report_skipped
from siglip_ingest.siglip.preprocess.folders import SkippedFiles, scan_images
from siglip_ingest.sources.files import file_version

_IS_PLAIN = re.compile(r"[A-Za-z0-9_.~-]+").fullmatch  # names that are in a URI as they are


def expand_folder(folder: Path, options: ExpandOptions) -> Iterator[Found]:
    """Yield the images of a folder and its subfolders; says afterwards what was left out.

    Raises:
        InvalidInputError: If it holds none.
        OSError: If it can't be read.
    """
    skipped = SkippedFiles()
    group = f"{str(folder)!r} is a folder"
    parent = prefix = None
    count = 0
    for found in scan_images(folder, skipped, all_files=options.all_files):
        if found.parent is not parent:
            parent, prefix = found.parent, _folder_uri(found.parent)
        count += 1
        name = found.name if _IS_PLAIN(found.name) else quote_from_bytes(os.fsencode(found.name))
        yield Found(f"{prefix}{name}", file_version(found.status), group=group)
    report_skipped(f"The folder {folder}", count, skipped, options)


def _folder_uri(path: str) -> str:
    """A folder's URI with a slash at its end. `Path.as_uri` gives the same, and takes as long as all the rest."""
    return f"file://{quote_from_bytes(os.fsencode(path)).rstrip('/')}/"
