"""Labelled data on disk: folders of classes and files of captions, as the field publishes them. No pixels are read.

Captions come as JSON lines, CSV (`,`, tab, `;` or `|` between columns, a header), a JSON list of objects, COCO's
annotations (`images` + `annotations`), or Karpathy's splits of COCO and Flickr30k (`images` with `sentences`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.preprocess.folders import find_images

CAPTION_SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".json")
IMAGE_FIELDS = ("image", "file_name", "filename", "image_name", "image_path", "path", "filepath")
CAPTION_FIELDS = ("caption", "captions", "text", "texts", "comment", "title")

_DELIMITERS = ",\t;|"


class CaptionedImage(NamedTuple):
    """An image and what is said of it.

    Attributes:
        path: Where it should be; whether it is there hasn't been checked.
        captions: At least one, as written.
    """

    path: Path
    captions: tuple[str, ...]


class LabeledClass(NamedTuple):
    """One class of a data set.

    Attributes:
        folder: Name of its folder.
        names: What the class is called, at least one; the first is for people.
        paths: Its images, sorted.
    """

    folder: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]


def read_captions(path: Path, *, images: Path | None = None, split: str | None = None) -> list[CaptionedImage]:
    """Read a file of captions.

    Args:
        path: Its suffix, one of `CAPTION_SUFFIXES`, names the format.
        images: Folder that relative paths of images start from; by default the one that the file lies in.
        split: Only records whose `split` is this one, such as `test` in Karpathy's files.

    Returns:
        One entry an image, in the order of the file; the captions of several records of an image are put together.

    Raises:
        InvalidInputError: If the file can't be read, names no image or caption, or has no record of that split.
    """
    folder = path.parent if images is None else images
    found: dict[Path, list[str]] = {}
    for where, record in _read_records(path):
        if split is None or record.get("split") == split:
            image, captions = _read_record(where, record)
            found.setdefault(folder / image, []).extend(captions)
    if not found:
        raise InvalidInputError(f"{path} has no captions" + (f" of the split {split!r}." if split else "."))
    return [CaptionedImage(image, tuple(captions)) for image, captions in found.items()]


def read_classes(folder: Path, *, names: Path | None = None) -> list[LabeledClass]:
    """Read a data set that has one folder a class.

    Args:
        folder: Its subfolders are the classes; images are looked for in all folders below each.
        names: What the classes are called: JSON, an object of folder to name or list of names; or text, a line each of
            a folder's name, a tab (or a colon, or spaces where the folder has none), and names between commas. Folders
            that it doesn't name are left out. By default a class is called as its folder, `_` read as a space.

    Returns:
        The classes in the order of their folders' names.

    Raises:
        InvalidInputError: If there are no such folders, a class has no image, or `names` can't be read.
    """
    try:
        found = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InvalidInputError(f"The folder {folder} can't be read: {error.strerror}.") from error
    called = None if names is None else _read_class_names(names)
    if called is not None:
        found = [entry for entry in found if entry.name in called]
    if not found:
        which = "no folder that the classes file names" if called is not None else "no folders"
        raise InvalidInputError(f"{folder} has {which}: a data set of labels has one folder for each class.")
    classes = []
    for entry in found:
        found_images = find_images(entry)
        if not found_images.paths:
            raise InvalidInputError(f"The class {entry} has no images: {found_images.describe_skipped()}.")
        label = entry.name.replace("_", " ").strip() or entry.name
        classes.append(
            LabeledClass(entry.name, (label,) if called is None else called[entry.name], tuple(found_images.paths))
        )
    return classes


def _read_records(path: Path) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Give the records of a file of captions, each with a text that says where it stands."""
    suffix = path.suffix.lower()
    if suffix not in CAPTION_SUFFIXES:
        raise InvalidInputError(f"{path} is no file of captions: its name must end in {', '.join(CAPTION_SUFFIXES)}.")
    text = _read_text(path)
    if suffix in {".jsonl", ".ndjson"}:
        lines = ((number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip())
        return ((f"{path}, line {number}", _parse_json(line, f"{path}, line {number}")) for number, line in lines)
    if suffix == ".json":
        return _read_json_records(path, _parse_json(text, str(path)))
    return _read_table(path, text)


def _read_table(path: Path, text: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=first.count)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or []]
    return ((f"{path}, line {rows.line_num}", row) for row in rows)


def _read_json_records(path: Path, content: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if isinstance(content, list):
        return ((f"{path}, record {number}", record) for number, record in enumerate(content, 1))
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise InvalidInputError(
            f"{path} must hold a list of objects, or an object with `images` as COCO's and Karpathy's files do."
        )
    images = [(f"{path}, image {number}", image) for number, image in enumerate(content["images"], 1)]
    if "annotations" not in content:
        return images
    names = {image.get("id"): image for _, image in images if isinstance(image, dict)}
    return (
        (where, {"image": names.get(note.get("image_id"), {}).get("file_name"), "caption": note.get("caption")})
        for where, note in ((f"{path}, annotation {n}", note) for n, note in enumerate(content["annotations"], 1))
        if isinstance(note, dict)
    )


def _read_record(where: str, record: object) -> tuple[Path, list[str]]:
    """Take an image's path and its captions out of one record."""
    if not isinstance(record, Mapping):
        raise InvalidInputError(f"{where}: must be an object with an image and a caption, not {str(record)[:80]!r}.")
    image = next((record[name] for name in IMAGE_FIELDS if record.get(name)), None)
    if not isinstance(image, str):
        raise InvalidInputError(f"{where}: names no image. One of {', '.join(IMAGE_FIELDS)} must be its path.")
    if "sentences" in record:  # Karpathy's splits
        captions = [sentence.get("raw") for sentence in record["sentences"]]
        image = str(Path(record.get("filepath") or "", image))
    else:
        given: Any = next((record[name] for name in CAPTION_FIELDS if record.get(name)), [])
        captions = [given] if isinstance(given, str) else given
    if not isinstance(captions, list) or not captions or not all(isinstance(c, str) and c.strip() for c in captions):
        raise InvalidInputError(
            f"{where}: {image} has no caption. One of {', '.join(CAPTION_FIELDS)} must be a text or a list of texts."
        )
    return Path(image), [caption.strip() for caption in captions]


def _read_class_names(path: Path) -> dict[str, tuple[str, ...]]:
    text = _read_text(path)
    if path.suffix.lower() == ".json":
        content = _parse_json(text, str(path))
        if not isinstance(content, dict):
            raise InvalidInputError(f"{path} must hold an object of folder to name or list of names.")
        pairs = [(folder, [names] if isinstance(names, str) else names) for folder, names in content.items()]
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        pairs = [_split_line(line) for line in lines]
    called = {}
    for folder, names in pairs:
        if not isinstance(names, list) or not names or not all(isinstance(n, str) and n.strip() for n in names):
            raise InvalidInputError(f"{path}: {folder!r} must have a name or a list of names.")
        called[folder.strip()] = tuple(name.strip() for name in names)
    return called


def _split_line(line: str) -> tuple[str, list[str]]:
    for separator in ("\t", ":"):
        folder, found, names = line.partition(separator)
        if found:
            return folder, names.split(",")
    folder, _, names = line.partition(" ")
    return folder, names.split(",") if names else []


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInputError(f"{path} can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error


def _parse_json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidInputError(f"{where}: is not JSON: {error}.") from error
