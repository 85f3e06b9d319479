"""An example of a data set: an image, where its bytes lie, and its captions or class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Example:
    """An image and what is known of it.

    Attributes:
        name: What people call it in messages.
        path: The file that it lies in.
        offset: Where in the file it begins, in bytes.
        size: Its length in bytes; None for the whole file.
        captions: What is said of it; one is chosen each time.
        target: The number of its class.
    """

    name: str
    path: Path
    offset: int = 0
    size: int | None = None
    captions: tuple[str, ...] = ()
    target: int = 0


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A data set.

    Attributes:
        examples: At least one.
        classes: Names of the classes, by number; none where there are captions.
        left_out: Sentences about what can't be used, each naming it.
    """

    examples: list[Example]
    classes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_part(example: Example) -> bytes:
    """Read an image's bytes out of the file that it lies in.

    Raises:
        OSError: If the file can't be read.
    """
    with example.path.open("rb") as file:
        file.seek(example.offset)
        return file.read(-1 if example.size is None else example.size)
