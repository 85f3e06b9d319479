"""Small data sets of generated images."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

from tests.checkpoints import WORDS
from tests.images import encode, make_image


def write_captioned(folder: Path, count: int = 12) -> Path:
    """Images of several shapes and a captions.jsonl; every third image has two captions."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        name = f"{number:02d}.png"
        make_image(24 + 4 * (number % 4), 24, seed=number).save(folder / name)
        captions = [f"{WORDS[number]} beside a boat"]
        if number % 3 == 0:
            captions.append(f"{WORDS[number]} above a boat")
        lines.append(json.dumps({"file_name": name, "captions": captions}))
    (folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def write_classes(folder: Path, per_class: int = 6) -> Path:
    """Two classes that differ in brightness."""
    for number, name in enumerate(("dark", "light")):
        (folder / name).mkdir(parents=True)
        for seed in range(per_class):
            drawn = make_image(30, 24, seed=seed).point(lambda value, number=number: value // 3 + 150 * number)
            drawn.save(folder / name / f"{seed}.png")
    return folder


def write_shard(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def png(seed: int) -> bytes:
    return encode(make_image(30, 24, seed=seed), "PNG")
