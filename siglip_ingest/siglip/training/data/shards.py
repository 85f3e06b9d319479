"""Webdataset shards: tar files in which the files of one example have one name and different suffixes.

An image `key.jpg` belongs to the caption in `key.txt`, or in `key.json` under a name such as `caption`. Only the
headers and captions are read here; an image is later read from its place in the file, in any order.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.datasets import CAPTION_FIELDS
from siglip_ingest.siglip.preprocess.formats import IMAGE_SUFFIXES
from siglip_ingest.siglip.training.data.examples import Example, TrainingData

_BRACES = re.compile(r"\{([^{}]+)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_shards(path: Path) -> list[Path]:
    """List the shards that a path stands for: one, or all of a pattern such as `train-{000..009}.tar` or `*.tar`.

    Returns:
        None of them where the path isn't that of a tar file.

    Raises:
        InvalidInputError: If a shard of the pattern isn't there.
    """
    if path.suffix.lower() != ".tar" or path.is_dir():
        return []
    expanded = [Path(text) for text in _expand_braces(str(path))] if not path.exists() else [path]
    shards = [
        shard
        for each in expanded
        for shard in (sorted(each.parent.glob(each.name)) if set("*?[") & set(each.name) else [each])
    ]
    if missing := [shard for shard in shards if not shard.is_file()]:
        raise InvalidInputError(f"There is no shard {missing[0]}; {len(missing)} of {len(shards)} are missing.")
    if not shards:
        raise InvalidInputError(f"No shard is called {path}.")
    return shards


def read_shards(shards: Sequence[Path]) -> TrainingData:
    """List the images and captions of shards.

    Raises:
        InvalidInputError: If a shard isn't a whole tar file, or there is no pair in any.
    """
    examples: list[Example] = []
    left_out: list[str] = []
    for shard in shards:
        for found in _read_shard(shard):
            if isinstance(found, Example):
                examples.append(found)
            else:
                left_out.append(found)
    if not examples:
        what = f", for instance: {left_out[0]}" if left_out else ""
        raise InvalidInputError(
            f"{', '.join(str(shard) for shard in shards[:3])}: no pair of an image (key.jpg) and a caption (key.txt "
            f"or key.json) is in there{what}."
        )
    return TrainingData(examples, left_out=tuple(left_out))


def _read_shard(shard: Path) -> Iterator[Example | str]:
    """Yield a shard's examples, and sentences about what is none."""
    images: dict[str, tarfile.TarInfo] = {}
    captions: dict[str, tuple[str, ...]] = {}
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if not member.isfile() or path.name.startswith("."):
                    continue
                stem, _, suffix = path.name.partition(".")
                key = str(path.with_name(stem))
                if f".{suffix.lower()}" in IMAGE_SUFFIXES:
                    images[key] = member
                elif suffix.lower() in {"txt", "json"} and (file := archive.extractfile(member)):
                    captions[key] = _parse_captions(file.read(), suffix.lower()) or captions.get(key, ())
    except (tarfile.TarError, OSError) as error:
        raise InvalidInputError(
            f"{shard} is not a whole tar file ({error}). Shards must be plain .tar files, not compressed ones."
        ) from error
    for key, member in images.items():
        if captions.get(key):
            name = f"{shard.name}/{member.name}"
            yield Example(name, shard, member.offset_data, member.size, captions[key])
        else:
            yield f"{shard}/{member.name}: has no caption: neither {key}.txt nor {key}.json with one is there."


def _parse_captions(content: bytes, suffix: str) -> tuple[str, ...]:
    """Take the captions out of a .txt or .json file; none where there are none."""
    text = content.decode("utf-8", errors="replace")
    given: object = text
    if suffix == "json":
        try:
            record = json.loads(text)
        except ValueError:
            return ()
        given = next((record[name] for name in CAPTION_FIELDS if record.get(name)), ()) if type(record) is dict else ()
    texts = given if isinstance(given, list) else [given]
    return tuple(each.strip() for each in texts if isinstance(each, str) and each.strip())


def _expand_braces(text: str) -> list[str]:
    """Write out `{000..009}` and `{a,b}` as a shell does."""
    match = _BRACES.search(text)
    if match is None:
        return [text]
    if limits := _RANGE.fullmatch(match[1]):
        first, last = limits[1], limits[2]
        width = len(first) if first.startswith("0") or last.startswith("0") else 0
        choices = [f"{number:0{width}d}" for number in range(int(first), int(last) + 1)]
    else:
        choices = match[1].split(",")
    parts = ([text[: match.start()] + choice + text[match.end() :]] for choice in choices)
    return [expanded for part in itertools.chain.from_iterable(parts) for expanded in _expand_braces(part)]
