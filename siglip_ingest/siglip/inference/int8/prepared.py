"""Keeps what takes long to make in a file: written at once, checked when it is read, made by one process at a time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)

FOLDER = ".siglip_ingest"  # inside a checkpoint's folder


class Prepared(NamedTuple):
    """A prepared model.

    Attributes:
        content: An ONNX model.
        least_cosine: Of its vectors with float32's, the smallest on images that weren't calibrated with.
    """

    content: bytes
    least_cosine: float


def read_or_make(places: Sequence[Path], key: Mapping[str, Any], make: Callable[[], Prepared]) -> Prepared:
    """Read the prepared model of a key; where there is none, or a broken one, make it and keep it.

    Two processes that start at once make it once where the file system has locks, else each; either way what is read is
    whole.

    Args:
        places: Folders in order of preference; those that can't be written are passed over. Where none can, what was
            made isn't kept.
        key: All that the model depends on, ready for JSON.
        make: Makes it.
    """
    name = _name(key)
    if (prepared := find(places, key)) is not None:
        return prepared
    place = next((place for place in places if _is_writable(place)), None)
    if place is None:
        logger.warning("The int8 model can't be kept: none of %s can be written.", ", ".join(map(str, places)))
        return make()
    with _locked(place / f"{name}.lock"):
        prepared = _read(place, name)  # another process's, meanwhile
        if prepared is None:
            prepared = make()
            _write(place, name, prepared, key)
    return prepared


def find(places: Sequence[Path], key: Mapping[str, Any]) -> Prepared | None:
    """Read the prepared model of a key; None where none is kept, or it is broken."""
    found = (_read(place, _name(key)) for place in places)
    return next((kept for kept in found if kept is not None), None)


def _name(key: Mapping[str, Any]) -> str:
    return f"int8-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]}"


def _read(place: Path, name: str) -> Prepared | None:
    """Read what is kept; None where nothing is, or it isn't whole."""
    try:
        facts = json.loads((place / f"{name}.json").read_text(encoding="utf-8"))
        content = (place / f"{name}.onnx").read_bytes()
        is_whole = hashlib.sha256(content).hexdigest() == facts["sha256"]
        prepared = Prepared(content, float(facts["least_cosine"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        logger.warning("The int8 model %s in %s is broken, and made again.", name, place)
        return None
    return prepared


def _write(place: Path, name: str, prepared: Prepared, key: Mapping[str, Any]) -> None:
    facts = {
        "sha256": hashlib.sha256(prepared.content).hexdigest(),
        "least_cosine": prepared.least_cosine,
        "key": dict(key),
    }
    files = {".onnx": prepared.content, ".json": json.dumps(facts, indent=1).encode()}  # the .json says it is whole
    partial = place / f"{name}.{os.getpid()}.partial"
    try:
        for suffix, content in files.items():
            partial.write_bytes(content)
            partial.replace(place / f"{name}{suffix}")
    except OSError as error:
        logger.warning("The int8 model can't be kept in %s: %s.", place, error.strerror)
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(place, os.W_OK)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock during the block; without one where the system or the file system has none."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            file = stack.enter_context(path.open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the file
        yield
