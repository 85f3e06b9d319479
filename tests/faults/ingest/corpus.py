"""The images that every fault of ingestion is tried on: small ones, copies of some, and files that are no images."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

CONTENTS = 2_000
COPIES = 340  # the same content under another name
BROKEN = 60
COUNT = CONTENTS + COPIES + BROKEN
LARGE_EVERY = 25  # one of so many takes several pages of a disk: a full disk cuts it short
_SMALL, _LARGE = (64, 48), (320, 240)


@dataclass(frozen=True)
class Corpus:
    """Files in a folder, in an order in which copies and broken ones lie among the others.

    Attributes:
        paths: All of them.
        hashes: SHA-256 of each good file, by its name.
        broken: The code with which each broken file must fail, by its name.
    """

    paths: list[Path] = field(default_factory=list)
    hashes: dict[str, bytes] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def parts(self, first: float) -> tuple[list[Path], list[Path]]:
        """Cut the files into two lists, `first` of them (0 to 1) in the first one."""
        cut = int(first * len(self.paths))
        return self.paths[:cut], self.paths[cut:]


def write_corpus(folder: Path) -> Corpus:
    """Write `COUNT` files; takes two seconds."""
    folder.mkdir(parents=True)
    corpus = Corpus()
    contents = [_draw(seed) for seed in range(CONTENTS)]
    files: list[tuple[str, bytes, str]] = [("image", content, "") for content in contents]
    files += [("copy", contents[number * 5], "") for number in range(COPIES)]
    files += [("broken", *_break(contents[number], number)) for number in range(BROKEN)]
    for position, chosen in enumerate(np.random.default_rng(0).permutation(len(files))):
        kind, content, code = files[chosen]
        path = folder / f"{position:04}-{kind}.jpg"  # names in the order in which they are queued
        path.write_bytes(content)
        corpus.paths.append(path)
        if code:
            corpus.broken[path.name] = code
        else:
            corpus.hashes[path.name] = hashlib.sha256(content).digest()
    return corpus


def _draw(seed: int) -> bytes:
    """Encode coloured noise that no other seed gives."""
    width, height = _LARGE if seed % LARGE_EVERY == 0 else _SMALL
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _break(content: bytes, number: int) -> tuple[bytes, str]:
    match number % 3:
        case 0:
            return content[: len(content) // 2], "truncated"
        case 1:
            return f"This is text {number}, whatever the file's name says.".encode(), "not_an_image"
        case _:
            return b"", "not_an_image"
