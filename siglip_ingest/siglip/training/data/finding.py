"""Finds the examples of a data set on disk: images with captions, or one folder a class. No image is opened."""

from __future__ import annotations

import os
from pathlib import Path

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.datasets import CAPTION_SUFFIXES, read_captions, read_classes
from siglip_ingest.siglip.training.data.examples import Example, TrainingData
from siglip_ingest.siglip.training.data.shards import expand_shards, read_shards

CAPTION_STEMS = ("captions", "metadata")


def find_pairs(data: str) -> TrainingData:
    """List images and their captions.

    Args:
        data: A folder with a file of captions (`captions.jsonl`, `metadata.jsonl`, `captions.csv`, ...) or with
            webdataset shards (`*.tar`); such a file itself; or shards by a pattern such as `train-{000..009}.tar`.

    Raises:
        InvalidInputError: If nothing of that kind is there, or a file can't be used.
    """
    path = expand_user(data)
    if shards := expand_shards(path):
        return read_shards(shards)
    if path.is_dir():
        if shards := [] if _list_caption_files(path) else sorted(path.glob("*.tar")):
            return read_shards(shards)
        path = _find_caption_file(path)
    elif not path.exists():
        raise InvalidInputError(f"There is no {path}. DATA is a folder with captions, a file of captions, or shards.")
    examples, left_out = [], []
    for image in read_captions(path):
        if image.path.is_file():
            examples.append(Example(os.path.relpath(image.path, path.parent), image.path, captions=image.captions))
        else:
            left_out.append(f"{image.path}: there is no such file, but {path.name} names it.")
    if not examples:
        raise InvalidInputError(
            f"{path} names {len(left_out)} images, and none is there. {left_out[0]} Relative paths start from the "
            "folder of the file of captions."
        )
    return TrainingData(examples, left_out=tuple(left_out))


def find_classes(data: str) -> TrainingData:
    """List the images of a folder that has one subfolder a class, which the class is named by.

    Raises:
        InvalidInputError: If there are fewer than two classes, or one has no images.
    """
    folder = expand_user(data)
    if not folder.is_dir():
        raise InvalidInputError(f"{folder} is no folder: classes are given as a folder with one subfolder a class.")
    found = read_classes(folder)
    if len(found) < 2:
        raise InvalidInputError(f"{folder} has one class, {found[0].folder}: there must be at least two to tell apart.")
    examples = [
        Example(os.path.relpath(path, folder), path, target=target)
        for target, labeled in enumerate(found)
        for path in labeled.paths
    ]
    return TrainingData(examples, classes=tuple(labeled.folder for labeled in found))


def _list_caption_files(folder: Path) -> list[Path]:
    names = [f"{stem}{suffix}" for stem in CAPTION_STEMS for suffix in CAPTION_SUFFIXES]
    return [folder / name for name in names if (folder / name).is_file()]


def _find_caption_file(folder: Path) -> Path:
    """Find the one file of captions in a folder: by its name, or as the only file of such a kind.

    Raises:
        InvalidInputError: If there is none, or it isn't clear which.
    """
    others = sorted(path for path in folder.iterdir() if path.suffix.lower() in CAPTION_SUFFIXES and path.is_file())
    found = _list_caption_files(folder) or others
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise InvalidInputError(f"{folder} has several files of captions ({names}): name the one to train on.")
    raise InvalidInputError(
        f"{folder} has no captions: neither captions.jsonl, metadata.jsonl, captions.csv nor the like, and no *.tar."
    )
